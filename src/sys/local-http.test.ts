import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { AnswerRoom, askSocket } from './local-http.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-ask-'))
const socket = join(directory, 's')
/** Answers with as many bytes as its path says, half of them at once, the others when all have been asked. */
let [asked, wanted] = [0, 1]
const waiting: (() => void)[] = []
const server = createServer(({ url = '' }, response) => {
  const bytes = Number(url.slice(1))
  response.write('x'.repeat(bytes / 2))
  waiting.push(() => response.end('x'.repeat(bytes / 2)))
  asked += 1
  if (asked === wanted) for (const end of waiting.splice(0)) end()
})
before(async () => {
  server.listen(socket)
  await once(server, 'listening')
})
after(() => {
  server.close()
  rmSync(directory, { recursive: true })
})

async function ask(room: AnswerRoom | undefined, ...sizes: readonly number[]) {
  ;[asked, wanted] = [0, sizes.length]
  const answers = await Promise.all(sizes.map(bytes => askSocket(socket, `/${bytes}`, 10_000, room)))
  return answers.map(answer => answer?.body.length)
}

test('answers that come at a time share one room, and leave it as it was', async () => {
  const room = new AnswerRoom(1 << 20)
  assert.deepEqual(await ask(room, 1 << 20), [1 << 20])
  const together = await ask(room, 400_000, 400_000, 400_000, 400_000)
  const whole = together.filter(bytes => bytes === 400_000)
  assert.ok(whole.length > 0 && whole.length < 4, `${together}`)
  assert.equal(together.filter(bytes => bytes === undefined).length, 4 - whole.length)
  assert.deepEqual(await ask(room, 1 << 20), [1 << 20])
})

test('an answer that is larger than its room is none', async () => {
  assert.deepEqual(await ask(new AnswerRoom(1000), 1002), [undefined])
  assert.deepEqual(await ask(undefined, 33 << 20), [undefined])
  assert.deepEqual(await ask(undefined, 1 << 20), [1 << 20])
})
