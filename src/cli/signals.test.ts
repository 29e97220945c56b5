import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const moduleUrl = JSON.stringify(new URL('./signals.ts', import.meta.url).href)

/** A process that takes no notice of being cancelled. */
async function startStubborn(t: TestContext) {
  const script = `
    const { watchSignals } = await import(${moduleUrl})
    const { signal } = watchSignals(process)
    signal.addEventListener('abort', () => process.stdout.write(signal.reason.message))
    setInterval(() => {}, 1000)
    process.stdout.write('ready')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}

test('the first signal aborts, the second ends the process on the spot', { timeout: 120_000 }, async t => {
  const child = await startStubborn(t)
  child.kill('SIGINT')
  assert.equal(String((await once(child.stdout, 'data'))[0]), 'Cannot go on: stopped by SIGINT')
  const before = performance.now()
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [130, null])
  assert.ok(performance.now() - before < 2500)
})

test('what does not end within three seconds after a signal is ended', { timeout: 120_000 }, async t => {
  const child = await startStubborn(t)
  const before = performance.now()
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [143, null])
  const elapsed = performance.now() - before
  assert.ok(elapsed > 2500 && elapsed < 60_000, `${elapsed} ms`)
})
