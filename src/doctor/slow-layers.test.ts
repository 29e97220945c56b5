import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Flow, findExcused } from './slow-layers.ts'

const begun = (idleMs: number, openedMs = Infinity) => ({ bytes: 1 << 20, idleMs, openedMs })
const waiting = (idleMs: number) => ({ bytes: 0, idleMs, openedMs: idleMs })

const holder = { pid: 7, name: 'containerd', state: 'S' }
const registryPorts = new Set(['443', '5000'])

/** On which something came last so long ago, and so much a second while it was looked at. */
function flow(idleMs: number, bytesPerSecond?: number, bytes = 50_000_000): Flow {
  const known = { socket: '1', remotePort: '443', isOwn: true, keptMs: 30_000, unread: 0, holder }
  // What comes was asked for before.
  return { ...known, bytes, idleMs, sentMs: idleMs + 1000, bytesPerSecond }
}

const ofOther = (flow: Flow): Flow => ({ ...flow, isOwn: false })
/** buildkitd's. */
const ofBuild = (flow: Flow): Flow => ({ ...flow, keptMs: 120_000 })

type Layers = readonly { readonly bytes: number; readonly idleMs: number }[]

/** Which of the layers are late and excused, by their ages. */
function excused(layers: Layers, all?: readonly Flow[], isWhole = true): number[] {
  return findExcused(layers, all && { all, isWhole, registryPorts }).map(({ idleMs }) => idleMs)
}

/** How many of the layers that are late are excused. */
function count(layers: Layers, all?: readonly Flow[], isWhole = true): number {
  return excused(layers, all, isWhole).length
}

const pooled = flow(20_000, 0)

test('a late layer is excused by a connection that was seen to bring something, and not as much as would be written', () => {
  assert.equal(count([begun(200_000)], [flow(100, 6000), pooled]), 1)
  const quiet = flow(198_000, 0)
  for (const flows of [[pooled], [flow(100), quiet], [flow(100, 900)], [flow(100, 60_000), quiet]])
    assert.equal(count([begun(200_000)], flows), 0)
})

test('what comes in bursts is late, and not silent between two of them', () => {
  assert.equal(count([begun(200_000)], [flow(9000, 0)]), 1)
  assert.equal(count([begun(200_000), begun(30_000)], [flow(9000, 0), flow(100, 30_000)]), 1)
  assert.equal(count([begun(200_000), begun(30_000)], [flow(60_000, 0), flow(100, 30_000)]), 0)
})

test('what an earlier pull has begun comes on a connection that is young, or waits for its turn', () => {
  assert.equal(count([begun(9_000_000)], [flow(100, 60_000, 700_000), pooled]), 1)
  assert.equal(count([begun(9_000_000), begun(9_000_000), begun(10_000)], [flow(100, 60_000)]), 2)
  // Of a record: that nobody is silent is told there, too.
  assert.equal(count([begun(9_000_000), begun(10_000)], [flow(100), flow(200)]), 1)
  assert.equal(count([begun(9_000_000), begun(10_000)], [flow(100), flow(200), flow(60_000)]), 0)
})

test('each layer has a connection of its own', () => {
  const layers = [begun(200_000), begun(30_000)]
  assert.equal(count(layers, [flow(100, 6000), flow(100, 6000)]), 1)
  // The other one has it: what came last on the silent one came before that one was written to.
  assert.equal(count(layers, [flow(100, 6000), flow(150_000, 0)]), 0)
  assert.equal(count(layers, [flow(70_000, 0), flow(100, 90_000)]), 0)
  // Whichever comes first, the fast one is for the layer that was written to lately.
  assert.equal(count(layers, [flow(100, 6000), flow(100, 40_000), pooled]), 1)
  assert.equal(count(layers.toReversed(), [flow(100, 6000), flow(100, 40_000), pooled]), 1)
})

test('a layer that goes on after a pause, as fast as it may, takes no connection from others', () => {
  assert.equal(count([begun(200_000), begun(100_000)], [flow(100, 6000), flow(100, 90_000), pooled]), 1)
})

test('of late layers those that have a connection are excused, and the others are not', () => {
  assert.deepEqual(excused([begun(600_000), begun(150_000)], [flow(100, 5000), flow(590_000, 0)]), [150_000])
  // Whose it is cannot be known yet.
  assert.equal(count([begun(200_000), begun(130_000)], [flow(100, 6000), flow(125_000, 0)]), 2)
  // Nobody was asked for what waits for its turn, and one is silent.
  const layers = [begun(9_000_000), begun(200_000), begun(30_000)]
  assert.deepEqual(excused(layers, [flow(100, 30_000), flow(190_000, 0)]), [9_000_000])
  // The one that is silent was begun just now.
  assert.equal(count([begun(9_000_000), waiting(100_000)], [flow(100, 60_000), flow(95_000, 0)]), 1)
})

test('what is kept for the next request accuses nobody, for as long as that engine keeps it', () => {
  const layers = [begun(9_000_000), waiting(200_000), begun(10_000)]
  const [busy, idle] = [flow(100, 150_000), (ms: number) => flow(ms, 0)]
  for (const ms of [15_000, 29_000, 45_000]) assert.equal(count(layers, [busy, idle(ms)]), 2)
  // An answer that leads elsewhere has just come on it.
  assert.equal(count(layers, [busy, flow(3000, 200)]), 2)
  assert.equal(count(layers, [busy, idle(190_000)]), 1)
  // It has brought no layer, but was asked for one.
  assert.deepEqual(excused(layers, [busy, flow(190_000, 0, 9000)]), [9_000_000])
  assert.equal(count([begun(9_000_000), begun(10_000)], [busy, flow(190_000, 0, 9000)]), 1)
  for (const ms of [61_000, 119_000]) assert.equal(count(layers, [busy, ofBuild(idle(ms))]), 2)
  assert.equal(count(layers, [busy, ofBuild(idle(190_000))]), 1)
  // It goes on, and what came last of it is not old enough to say more.
  assert.equal(count([begun(9_000_000), begun(100_000), begun(10_000)], [busy, flow(100, 0), idle(95_000)]), 1)
})

test('what comes to others, of whom only that is known that they are connected, excuses and does not accuse', () => {
  const busy = flow(100, 90_000)
  for (const layer of [waiting(150_000), begun(150_000), begun(9_000_000)])
    assert.equal(count([layer, begun(3000)], [busy, ofOther(flow(70_000, 0))]), 1)
  assert.equal(count([begun(150_000)], [ofOther(flow(70_000, 0))]), 1)
  assert.equal(count([begun(150_000)], [flow(5000, 0), ofOther(flow(20_000, 0))]), 1)
  assert.equal(count([begun(150_000)], [pooled, ofOther(flow(100, 6000))]), 1)
  // The engine's own is silent.
  const agent = ofOther(flow(100, 6000))
  assert.equal(count([begun(150_000, 600_000)], [agent, flow(900_000, 0)]), 1)
  for (const speed of [1050, 2000, 5000])
    assert.equal(count([begun(1_200_000)], [ofOther(flow(100, speed)), flow(1_190_000, 0)]), 0)
})

test('a layer of which nothing has come waits for its turn, unless somebody was asked and has not answered', () => {
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000)]), 1)
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000), flow(61_000, 0)]), 0)
  // It is kept for the next request for a while.
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000), flow(29_000, 0)]), 1)
  // It was asked for something else, long before.
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000), flow(900_000, 0)]), 1)
  // One that is silent in the middle was asked for, too.
  assert.equal(count([waiting(200_000), begun(30_000), begun(190_000)], [flow(100, 30_000), flow(180_000, 0)]), 1)
})

test('what is seen in part excuses, and that nothing else is seen accuses nobody', () => {
  assert.equal(count([begun(150_000)], [flow(100, 6000), pooled], false), 1)
  assert.equal(count([begun(150_000)], [pooled], false), 1)
  // Somebody was asked, and has not answered.
  for (const layer of [begun(150_000), waiting(150_000)]) assert.equal(count([layer], [flow(148_000, 0)], false), 0)
})

test('where no connection of the engine is seen, no layer is silent until nothing was written for as long as the slowest takes for a piece', () => {
  assert.equal(count([waiting(200_000), begun(30_000)]), 1)
  assert.equal(count([waiting(200_000), begun(200_000)]), 2)
  assert.equal(count([begun(1_000_000)]), 1)
  assert.equal(count([begun(1_100_000)]), 0)
  assert.equal(count([begun(1_100_000), begun(90_000)]), 1)
  assert.equal(count([begun(1_100_000)], [ofOther(flow(100, 2000))]), 1)
  // Nobody else has the turn.
  assert.equal(count([waiting(1_100_000)]), 0)
  assert.deepEqual(excused([waiting(1_200_000), begun(1_100_000)]), [1_200_000])
  // What the engine has is quiet since long before.
  assert.equal(count([begun(1_000_000, 2_000_000)], [flow(5_000_000, 0)]), 1)
  assert.equal(count([begun(1_100_000, 2_000_000)], [flow(5_000_000, 0)]), 0)
})

test('who has no connection at all has asked nobody', () => {
  for (const layer of [begun(9_000_000), waiting(9_000_000)]) assert.equal(count([layer], []), 1)
  assert.equal(count([begun(9_000_000)], [], false), 0)
})

test('what sends, and gets no answer, waits for none, unless what it sent was a question', () => {
  const goOn = [begun(9000), begun(20_000), begun(30_000)]
  const layers = [waiting(200_000), waiting(200_500), ...goOn]
  const flows = goOn.map(() => flow(100, 90_000))
  const sending = (flow: Flow, sentMs: number): Flow => ({ ...flow, sentMs })
  // A push goes on; a log has written a line now, or some time ago; and what waits for its answer.
  assert.equal(count(layers, [...flows, sending(flow(180_000, 0, 4000), 3)]), 2)
  assert.equal(count(layers, [...flows, ofBuild(sending(flow(180_000, 0, 0), 0))]), 2)
  assert.equal(count(layers, [...flows, ofBuild(sending(flow(900_000, 0, 0), 155_000))]), 2)
  assert.equal(count(layers, [...flows, sending(flow(100_000, 0, 0), 70_000)]), 2)
  assert.equal(count(layers, [...flows, sending(flow(185_000, 0, 4000), 180_000)]), 0)
  // It was kept from before, and asked again.
  assert.equal(count(layers, [...flows, sending(flow(225_000, 0, 4000), 198_000)]), 0)
})

test('a connection to a port of no registry waits for something else, as long as anything comes', () => {
  const layers = [waiting(200_000), begun(9000), begun(20_000)]
  const [busy, told] = [flow(100, 90_000), { ...flow(190_000, 0, 5000), remotePort: '4317' }]
  assert.equal(count(layers, [busy, busy, told]), 1)
  assert.equal(count(layers, [busy, busy, { ...told, remotePort: '443' }]), 0)
  assert.equal(count(layers, [busy, busy, { ...told, bytes: 1 << 20 }]), 1)
  // Others come from there, or it is a usual one.
  assert.equal(count(layers, [busy, { ...busy, remotePort: '4317' }, told]), 0)
  assert.equal(count(layers, [busy, busy, { ...told, remotePort: '5000' }]), 0)
  assert.equal(count([waiting(200_000)], [told]), 0)
  assert.equal(count([begun(150_000)], [{ ...told, bytes: 1 << 20 }, ofOther(flow(100, 6000))]), 1)
  assert.equal(count([waiting(3_600_000)], [flow(3_500_000, 0, 5000), { ...flow(100, 2000), remotePort: '9090' }]), 0)
})

test('what has come, and is not read, is no silence of a registry', () => {
  const unread = { ...flow(190_000, 0), unread: 249_856 }
  for (const layer of [begun(200_000), waiting(200_000)]) {
    assert.equal(count([layer], [unread]), 1)
    assert.equal(count([layer, begun(9000)], [unread, flow(100, 90_000)]), 1)
  }
  assert.equal(count([begun(36_000_000), begun(200_000)], [flow(3_600_000, 0, 9000), unread]), 2)
  // Whose it is cannot be known.
  assert.equal(count([begun(200_000), begun(195_000)], [flow(190_000, 0), unread]), 2)
})

test('a part of a layer that was fetched beside others may be silent for longer than its file', () => {
  const part = { ...flow(400_000, 0), sentMs: 405_000 }
  assert.equal(count([begun(200_000, 600_000)], [part]), 0)
  assert.equal(count([begun(200_000, 600_000), begun(9000)], [part, flow(100, 90_000)]), 0)
  assert.equal(count([begun(200_000, 300_000), begun(9000)], [part, flow(100, 90_000)]), 1)
  // Of what is slow it is none.
  assert.equal(count([begun(200_000, 600_000)], [part, flow(100, 6000)]), 1)
})

test('what waits until a layer that is all there is durable is not silent', () => {
  const layers = [waiting(200_000), begun(300_000, 600_000)]
  const excusedBy = (flow: Flow, isBusy: boolean) =>
    findExcused(layers, { all: [flow], isWhole: true, registryPorts }, isBusy).length
  assert.deepEqual([excusedBy(flow(50_000, 0), true), excusedBy(flow(50_000, 0), false)], [2, 0])
  assert.equal(findExcused([begun(1_100_000)], undefined, true).length, 1)
  assert.equal(
    findExcused([begun(9_000_000)], { all: [flow(190_000, 0, 9000)], isWhole: true, registryPorts }, true).length,
    1,
  )
  // Somebody was asked.
  assert.equal(excusedBy(flow(190_000, 0), true), 1)
})

test('a layer is silent, of which nothing has come since an earlier pull, where nothing else comes', () => {
  const mute = flow(3_600_000, 0, 9000)
  for (const isWhole of [true, false]) assert.equal(count([begun(36_000_000)], [mute], isWhole), 0)
  assert.equal(count([begun(36_000_000)], [mute, ofOther(flow(100, 5000))]), 0)
  assert.equal(count([begun(36_000_000), begun(9000)], [mute, flow(100, 90_000)]), 1)
})

test('what is quiet for long, and for something else, makes no silence of what comes in bursts to others', () => {
  const burst = ofOther(flow(6000, 0))
  for (const log of [[], [flow(3_600_000, 0, 0)]]) assert.equal(count([begun(150_000, 600_000)], [...log, burst]), 1)
})

test('a layer whose own connection fell silent with it has no other, if that can be of no other layer', () => {
  const own = flow(190_000, 0)
  for (const speed of [1050, 6000]) assert.equal(count([begun(200_000)], [flow(100, speed), own]), 0)
  assert.equal(count([begun(600_000)], [flow(100, 1050), own]), 1)
  // Whose it is cannot be known yet.
  assert.equal(count([begun(200_000), begun(195_000)], [flow(100, 6000), own]), 2)
})

test('nobody was asked for a layer before its file was there', () => {
  const silent = { ...flow(400_000, 0), sentMs: 1_000_000 }
  assert.deepEqual(excused([begun(600_000), waiting(450_000), begun(9000)], [silent, flow(100, 90_000)]), [450_000])
  const late = { ...flow(99_000, 0), sentMs: 500_000 }
  assert.deepEqual(excused([begun(150_000), waiting(100_000), begun(9000)], [late, flow(100, 90_000)]), [])
})
