import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { makeFinding } from '../finding.ts'
import { allChecks } from './all.ts'
import type { Check, CheckContext, Item } from './check.ts'
import { orderChecks } from './order.ts'
import { runChecks } from './run.ts'

const hostItem: Item = { kind: 'host', key: '', engine: undefined, value: {} }

function contextOf(signal = new AbortController().signal): CheckContext {
  return {
    ...{ host: new FixtureHost({}), engines: [], table: new Map(), signal, mayTry: false },
    verdictOf: async () => undefined,
  }
}

test('all checks of the doctor stand in an order, each after what it depends on', () => {
  const waves = orderChecks(allChecks)
  const at = new Map(waves.flatMap((wave, index) => wave.map(({ name }) => [name, index] as const)))
  assert.equal(at.size, allChecks.length)
  for (const { name, after = [] } of allChecks)
    for (const { check } of after) assert.ok((at.get(check) ?? 99) < (at.get(name) ?? 0), `${name} after ${check}`)
})

test('a check that does not end is given up in time and told, as is one that throws; the others go on', async () => {
  const never: Check = { name: 'never', of: 'host', boundMs: 50, look: () => new Promise(() => {}) }
  const throws: Check = {
    name: 'throws',
    of: 'host',
    look: () => {
      throw new Error('the unforeseen')
    },
  }
  const well: Check = { name: 'well', of: 'host', look: () => [makeFinding('CLOCK_WRONG', 'clock')] }
  const { findings } = await runChecks([never, throws, well], [hostItem], contextOf())
  assert.deepEqual(
    findings.map(({ code, subject }) => [code, subject]),
    [
      ['CHECK_UNFINISHED', 'never'],
      ['CHECK_UNFINISHED', 'throws'],
      ['CLOCK_WRONG', 'clock'],
    ],
  )
  assert.match(findings[0]?.evidence[0] ?? '', /no answer in 0\.05 s/)
  assert.match(findings[1]?.evidence[0] ?? '', /the unforeseen/)
})

test('when the answer is due, what is not ready is left, but for what was asked for', async () => {
  const never: Check = { name: 'never', of: 'host', look: () => new Promise(() => {}) }
  const slow: Check = {
    name: 'slow',
    of: 'registry',
    boundMs: 5000,
    look: () => sleep(1500, [makeFinding('CLOCK_WRONG', '')]),
  }
  const registry = { ...hostItem, kind: 'registry' as const }
  const context = contextOf()
  const { findings } = await runChecks([never, slow], [hostItem, registry], {
    ...context,
    until: context.host.elapsed() + 100,
  })
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['CHECK_UNFINISHED', 'CLOCK_WRONG'],
  )
  assert.match(findings[0]?.evidence[0] ?? '', /no answer in 1 s/)
})

test('what comes after a check that was left out is left out for the same reason, if it is one for it, too', async () => {
  const made = (name: string, after: string, unless: 'DISK_SILENT' | 'DISK_FULL'): Check => ({
    ...{ name, of: 'host', after: [{ check: after, unless: [unless] }] },
    look: () => [makeFinding('CLOCK_WRONG', name)],
  })
  const cause: Check = { name: 'cause', of: 'host', look: () => [makeFinding('DISK_SILENT', '/data')] }
  const checks = [
    ...[cause, made('first', 'cause', 'DISK_SILENT')],
    ...[made('second', 'first', 'DISK_SILENT'), made('other', 'first', 'DISK_FULL')],
  ]
  const { findings, skipped } = await runChecks(checks, [hostItem], contextOf())
  assert.deepEqual(
    findings.map(({ subject }) => subject),
    ['/data', 'other'],
  )
  assert.deepEqual(
    skipped.map(({ check }) => check),
    ['first', 'second'],
  )
})

test('what is pointless after a finding is left out, and said so', async () => {
  let looked = 0
  const cause: Check = { name: 'cause', of: 'host', look: () => [makeFinding('DISK_SILENT', '/data')] }
  const effect: Check = {
    ...{ name: 'effect', of: 'host', after: [{ check: 'cause', unless: ['DISK_SILENT'] }] },
    look: () => {
      looked++
      return []
    },
  }
  const { findings, skipped } = await runChecks([effect, cause], [hostItem], contextOf())
  assert.deepEqual([findings.length, looked], [1, 0])
  assert.deepEqual(skipped, [{ check: 'effect', item: '', because: 'DISK_SILENT (/data)' }])
})

test('a signal ends the visit', async () => {
  const abort = new AbortController()
  const aborts: Check = {
    ...{ name: 'aborts', of: 'host' },
    look: () => {
      abort.abort(new Error('enough'))
      return []
    },
  }
  await assert.rejects(runChecks([aborts], [hostItem], contextOf(abort.signal)), /enough/)
})
