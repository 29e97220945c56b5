import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isWindlassError, WindlassError } from '../errors.ts'
import { Patience, retry } from './retry.ts'

/** What is added to a pause at most, so that not all come back in the same instant. */
const jitterMs = 250

/** Failures that a server asks to be repeated after a millisecond, so that the tests wait for real, but not for long. */
const soon = (message: string): WindlassError => new WindlassError('NETWORK', message, { facts: { retryAfterMs: 1 } })

test('an attempt is repeated until it succeeds, and each pause is told', async () => {
  const told: [string, number][] = []
  let attempts = 0
  const result = await retry(
    async () => {
      if (++attempts < 4) throw soon(`failure ${attempts}`)
      return 'done'
    },
    { signal: new AbortController().signal, onRetry: (error, pauseMs) => told.push([error.message, pauseMs]) },
  )
  assert.equal(result, 'done')
  assert.deepEqual(
    told.map(([message]) => message),
    ['failure 1', 'failure 2', 'failure 3'],
  )
  for (const [, pauseMs] of told) assert.ok(pauseMs >= 1 && pauseMs <= 1 + jitterMs)
})

test('after five failures in a row the last one is thrown', async () => {
  let attempts = 0
  const attempt = async (): Promise<never> => {
    throw soon(`failure ${++attempts}`)
  }
  await assert.rejects(retry(attempt, { signal: new AbortController().signal }), /failure 5/)
  assert.equal(attempts, 5)
})

test('what another attempt cannot help is thrown at once', async () => {
  for (const error of [new WindlassError('DENIED', 'no'), new TypeError('bug'), new WindlassError('TLS', 'no')]) {
    let attempts = 0
    const attempt = async (): Promise<never> => {
      attempts++
      throw error
    }
    await assert.rejects(retry(attempt, { signal: new AbortController().signal }), thrown => thrown === error)
    assert.equal(attempts, 1)
  }
})

test('progress starts the count anew', async () => {
  const patience = new Patience({ signal: new AbortController().signal })
  for (let n = 0; n < 4; n++) await patience.wait(soon('one of four'))
  patience.progressed()
  for (let n = 0; n < 4; n++) await patience.wait(soon('four more'))
  await assert.rejects(patience.wait(soon('too many')), /too many/)
})

test('pauses grow, never past their bounds, and what the server asks for is honoured up to a minute', async () => {
  const controller = new AbortController()
  const pauses: number[] = []
  const pauseOf = async (error: WindlassError, failures = 0): Promise<number> => {
    const patience = new Patience({
      signal: controller.signal,
      onRetry: (_, pauseMs) => {
        pauses.push(pauseMs)
      },
    })
    for (let n = 0; n < failures; n++) await patience.wait(soon('before'))
    const waiting = patience.wait(error)
    waiting.catch(() => {})
    return pauses.at(-1) ?? -1
  }
  const plain = new WindlassError('NETWORK', 'plain')
  for (const failures of [0, 1, 2, 3]) {
    const ceilingMs = 500 * 2 ** failures
    const pauseMs = await pauseOf(plain, failures)
    assert.ok(pauseMs >= ceilingMs / 2 && pauseMs <= ceilingMs, `${pauseMs} after ${failures} failures`)
  }
  const asked = (retryAfterMs: number): WindlassError =>
    new WindlassError('RATE_LIMITED', 'busy', { facts: { retryAfterMs } })
  for (const [wantedMs, grantedMs] of [[20_000, 20_000] as const, [1e9, 60_000] as const]) {
    const pauseMs = await pauseOf(asked(wantedMs))
    assert.ok(pauseMs >= grantedMs && pauseMs <= grantedMs + jitterMs, `${pauseMs} for ${wantedMs}`)
  }
  controller.abort()
})

test('an abort ends the pause at once', async () => {
  const controller = new AbortController()
  const patience = new Patience({ signal: controller.signal })
  const waiting = patience.wait(new WindlassError('NETWORK', 'long', { facts: { retryAfterMs: 50_000 } }))
  setTimeout(() => controller.abort(), 10)
  await assert.rejects(waiting, error => isWindlassError(error) || (error as Error).name === 'AbortError')
  await assert.rejects(patience.wait(soon('again')), { name: 'AbortError' })
})
