/**
 * A small pipeline with real back-pressure, in simulated time: a network in bursts, a decompressor between two pipes, an unpack thread behind
 * a ring, a sync. Speeds, buffers, and which facts can be seen are drawn by lot; then one stage is broken, or none.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blame, type Verdict, type VerdictKind } from './blame.ts'
import type { KernelFacts, PipelineSample, StageFacts, Waits } from './stage.ts'
import { SampleHistory } from './watch.ts'

type Fault =
  | 'source silent'
  | 'source trickles'
  | 'decompress stuck'
  | 'decompress stopped'
  | 'decompress dribbles'
  | 'unpack stuck'
  | 'unpack in D'
  | 'sync stuck'

const wantedKinds: Readonly<Record<Fault, VerdictKind>> = {
  'source silent': 'silent-source',
  'source trickles': 'trickling-source',
  'decompress stuck': 'stuck-decompressor',
  'decompress stopped': 'stopped',
  'decompress dribbles': 'dribbling-decompressor',
  'unpack stuck': 'stuck-entry',
  'unpack in D': 'disk-wait',
  'sync stuck': 'stuck-sync',
}
const faults = Object.keys(wantedKinds) as Fault[]

const tickMs = 50
const sampleMs = 250
const KiB = 1024

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
function lots(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

/** Evenly over the orders of magnitude. */
function between(lot: () => number, low: number, high: number): number {
  return low * (high / low) ** lot()
}

interface Buffer {
  readonly capacity: number
  bytes: number
}

class SimulatedSource {
  readonly #lot: () => number
  readonly #out: Buffer
  readonly bytesPerMs: number
  readonly burstMs: number
  #pausedUntilMs = 0
  #sinceBurstMs = 0
  #inHand = 0
  left: number
  moved = 0
  requests = 1
  waits: Waits = 'input'

  constructor(lot: () => number, out: Buffer, size: number) {
    this.#lot = lot
    this.#out = out
    this.left = size
    this.bytesPerMs = between(lot, 4, 20_000)
    this.burstMs = between(lot, tickMs, 5_000)
  }

  tick(nowMs: number, fault: Fault | undefined): void {
    if (this.#inHand === 0) this.#receive(nowMs, fault)
    const passed = Math.min(this.#inHand, this.#out.capacity - this.#out.bytes)
    this.#out.bytes += passed
    this.#inHand -= passed
    this.moved += passed
    if (this.#inHand > 0) this.waits = 'output'
    else if (this.left <= 0) this.waits = 'nobody'
    else this.waits = nowMs < this.#pausedUntilMs ? 'itself' : 'input'
  }

  #receive(nowMs: number, fault: Fault | undefined): void {
    if (fault === 'source silent' || nowMs < this.#pausedUntilMs || this.left <= 0) return
    if (fault !== 'source trickles' && this.#lot() < 0.0003) return this.#breakOff(nowMs)
    this.#sinceBurstMs += tickMs
    if (this.#sinceBurstMs < this.burstMs) return
    const rate = fault === 'source trickles' ? 0.1 : this.bytesPerMs
    // What a socket's buffer may hold.
    this.#inHand = Math.min(this.left, KiB * KiB, Math.max(1, Math.floor(rate * this.#sinceBurstMs)))
    this.left -= this.#inHand
    this.#sinceBurstMs = 0
  }

  /** The connection broke; it asks again after a pause. */
  #breakOff(nowMs: number): void {
    this.#pausedUntilMs = nowMs + between(this.#lot, 250, 60_000)
    this.requests++
  }

  get isDone(): boolean {
    return this.left <= 0 && this.#inHand === 0
  }
}

class SimulatedDecompressor {
  readonly #in: Buffer
  readonly #out: Buffer
  readonly bytesPerMs: number
  readonly ratio: number
  readonly needed: number
  bytesIn = 0
  bytesOut = 0
  #dribble = 0

  constructor(lot: () => number, input: Buffer, output: Buffer) {
    this.#in = input
    this.#out = output
    this.bytesPerMs = between(lot, 100, 200_000)
    this.ratio = between(lot, 1, 30)
    this.needed = lot() < 0.5 ? 1 : 32 * KiB
  }

  tick(isInputEnded: boolean, fault: Fault | undefined): void {
    if (fault === 'decompress stuck' || fault === 'decompress stopped') return
    if (fault === 'decompress dribbles') return this.#drip()
    if (this.#in.bytes < this.needed && !isInputEnded) return
    const room = Math.floor((this.#out.capacity - this.#out.bytes) / this.ratio)
    const taken = Math.min(this.#in.bytes, room, Math.floor(this.bytesPerMs * tickMs))
    this.#in.bytes -= taken
    this.bytesIn += taken
    const made = Math.floor(taken * this.ratio)
    this.#out.bytes += made
    this.bytesOut += made
  }

  #drip(): void {
    this.#dribble += tickMs
    if (this.#dribble < 1_000 || this.#out.bytes >= this.#out.capacity) return
    this.#dribble = 0
    this.#out.bytes++
    this.bytesOut++
  }

  waits(isInputEnded: boolean): Waits {
    if (this.#out.capacity - this.#out.bytes < this.ratio) return 'output'
    return this.#in.bytes < this.needed && !isInputEnded ? 'input' : 'itself'
  }
}

class SimulatedUnpack {
  readonly #lot: () => number
  readonly #in: Buffer
  readonly bytesPerMs: number
  readonly entryMs: number
  readonly entryBytes: number
  bytesIn = 0
  entries = 0
  #busyMs = 0
  #leftOfEntry = 0

  constructor(lot: () => number, input: Buffer, entryMsMax: number) {
    this.#lot = lot
    this.#in = input
    this.bytesPerMs = between(lot, 100, 500_000)
    this.entryMs = between(lot, 0.05, entryMsMax)
    this.entryBytes = between(lot, 8 * KiB, 4 * KiB * KiB)
  }

  tick(isInputEnded: boolean, fault: Fault | undefined): void {
    if (fault === 'unpack stuck' || fault === 'unpack in D') return
    let timeMs = tickMs
    while (timeMs > 0 && this.#hasWork(isInputEnded)) {
      if (this.#leftOfEntry === 0) this.#begin()
      const slept = Math.min(timeMs, this.#busyMs)
      this.#busyMs -= slept
      timeMs -= slept
      const taken = Math.min(this.#in.bytes, this.#leftOfEntry, Math.floor(this.bytesPerMs * timeMs))
      if (taken === 0) return
      this.#in.bytes -= taken
      this.#leftOfEntry -= taken
      this.bytesIn += taken
      timeMs -= taken / this.bytesPerMs
    }
  }

  #hasWork(isInputEnded: boolean): boolean {
    return this.#busyMs > 0 || (isInputEnded ? this.#in.bytes > 0 : this.#in.bytes >= this.needed)
  }

  /** Like a reader of the ring, it waits for a piece that is worth a call. */
  get needed(): number {
    return Math.min(this.#in.capacity / 4, Math.max(512, this.#leftOfEntry))
  }

  #begin(): void {
    this.entries++
    this.#leftOfEntry = Math.max(512, Math.floor(this.entryBytes * this.#lot()))
    this.#busyMs = this.entryMs * this.#lot()
  }

  waits(isInputEnded: boolean): Waits {
    return this.#hasWork(isInputEnded) ? 'itself' : 'input'
  }
}

class Simulation {
  readonly #fault: Fault | undefined
  readonly #pipe: Buffer
  readonly #ring: Buffer
  readonly #source: SimulatedSource
  readonly #decompressor: SimulatedDecompressor
  readonly #unpack: SimulatedUnpack
  readonly #isExternal: boolean
  readonly #seesTasks: boolean
  readonly #syncMs: number
  readonly breakMs: number
  #syncedMs = 0
  #nowMs = 0

  constructor(seed: number, fault: Fault | undefined) {
    const lot = lots(seed)
    this.#fault = fault
    this.#pipe = { capacity: 64 * KiB * 2 ** Math.floor(lot() * 5), bytes: 0 }
    this.#ring = { capacity: 2 * KiB * KiB, bytes: 0 }
    this.#isExternal = lot() < 0.6
    this.#seesTasks = this.#isExternal || lot() < 0.5
    this.#syncMs = between(lot, 1, 25_000)
    this.breakMs = fault === 'sync stuck' ? 0 : between(lot, 1_000, 60_000)
    const size = fault === 'sync stuck' ? 100 * KiB : Number.POSITIVE_INFINITY
    this.#source = new SimulatedSource(lot, this.#pipe, size)
    this.#decompressor = new SimulatedDecompressor(lot, this.#pipe, this.#ring)
    // What is upstream of a disk that is slower still shows its fault only when the buffers between have run dry.
    this.#unpack = new SimulatedUnpack(lot, this.#ring, fault === undefined ? 8_000 : 100)
  }

  /** Runs on until the next sample is due. */
  next(): PipelineSample {
    const dueMs = this.#nowMs + sampleMs
    while (this.#nowMs < dueMs) this.#tick()
    return {
      timeMs: this.#nowMs,
      stages: [this.#sourceFacts(), this.#decompressFacts(), this.#unpackFacts(), this.#syncFacts()],
    }
  }

  #tick(): void {
    this.#nowMs += tickMs
    const fault = this.#nowMs >= this.breakMs ? this.#fault : undefined
    this.#source.tick(this.#nowMs, fault)
    this.#decompressor.tick(this.#source.isDone, fault)
    this.#unpack.tick(this.#isDecompressed, fault)
    if (this.#isUnpacked && this.#fault !== 'sync stuck') this.#syncedMs += tickMs
  }

  get #isDecompressed(): boolean {
    return this.#source.isDone && this.#pipe.bytes === 0
  }

  get #isUnpacked(): boolean {
    return this.#isDecompressed && this.#ring.bytes === 0
  }

  #sourceFacts(): StageFacts {
    const { moved, requests, waits } = this.#source
    return { name: 'source', kind: 'source', bytesIn: moved, bytesOut: moved, units: requests, waits }
  }

  #decompressFacts(): StageFacts {
    const { bytesIn, bytesOut, needed } = this.#decompressor
    const common = { name: 'decompress', kind: 'decompress', bytesIn, bytesOut, units: 0 } as const
    if (this.#isDecompressed) return { ...common, waits: 'nobody' }
    const isStopped = this.#fault === 'decompress stopped' && this.#nowMs >= this.breakMs
    const task: KernelFacts = { state: isStopped ? 'T' : 'S' }
    const outputRoom = this.#ring.capacity - this.#ring.bytes
    const pipes = {
      inputBytes: this.#pipe.bytes,
      outputRoom: outputRoom < 30 ? 0 : outputRoom,
      inputNeeded: needed,
      task,
    }
    if (this.#isExternal) return { ...common, ...pipes, inputEnded: this.#source.isDone }
    return { ...common, waits: this.#decompressor.waits(this.#source.isDone), ...(isStopped && { task }) }
  }

  #unpackFacts(): StageFacts {
    const { bytesIn, entries } = this.#unpack
    const isBroken = this.#fault?.startsWith('unpack') === true && this.#nowMs >= this.breakMs
    const common = { name: 'unpack', kind: 'unpack', bytesIn, bytesOut: 0, units: entries } as const
    if (this.#isUnpacked) return { ...common, waits: 'nobody' }
    const ring = {
      inputBytes: this.#ring.bytes,
      inputNeeded: this.#ring.capacity / 4,
      inputEnded: this.#isDecompressed,
    }
    if (!this.#seesTasks && this.#fault !== 'unpack in D') return { ...common, ...ring }
    const waits = isBroken ? 'itself' : this.#unpack.waits(this.#isDecompressed)
    const state = isBroken && this.#fault === 'unpack in D' ? 'D' : 'S'
    return { ...common, ...ring, waits, task: { state } }
  }

  #syncFacts(): StageFacts {
    const isBusy = this.#isUnpacked && this.#syncedMs < this.#syncMs
    return { name: 'sync', kind: 'sync', bytesIn: 0, bytesOut: 0, units: 0, waits: isBusy ? 'itself' : 'nobody' }
  }
}

/** The first verdict, and when it was given. */
function firstVerdict(simulation: Simulation, untilMs: number): { verdict: Verdict; atMs: number } | undefined {
  const history = new SampleHistory()
  for (let atMs = sampleMs; atMs <= untilMs; atMs += sampleMs) {
    history.push(simulation.next())
    if (atMs % 1_000 !== 0) continue
    const verdict = blame(history.samples)
    if (verdict !== undefined) return { verdict, atMs }
  }
  return undefined
}

test('with one stage broken, exactly that one is blamed, and only after it broke', () => {
  for (let seed = 1; seed <= 2400; seed++) {
    const fault = faults[seed % faults.length] as Fault
    const simulation = new Simulation(seed, fault)
    const found = firstVerdict(simulation, 1_200_000)
    const what = `seed ${seed}: ${fault}`
    assert.ok(found !== undefined, `${what} is not found`)
    assert.equal(found.verdict.stage, fault.split(' ')[0], `${what}: ${JSON.stringify(found)}`)
    assert.equal(found.verdict.kind, wantedKinds[fault], `${what}: ${JSON.stringify(found)}`)
    assert.ok(found.atMs > simulation.breakMs, `${what}: accused before it broke`)
  }
})

test('with nothing broken, however slow, nobody is accused', () => {
  for (let seed = 1; seed <= 600; seed++) {
    assert.equal(firstVerdict(new Simulation(seed, undefined), 240_000), undefined, `seed ${seed}`)
  }
})
