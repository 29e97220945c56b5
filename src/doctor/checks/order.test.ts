import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FindingCode } from '../catalogue.ts'
import { makeFinding } from '../finding.ts'
import type { Check, Item } from './check.ts'
import { obstacleOf, orderChecks, type Seen, withoutExplained } from './order.ts'

function makeCheck(name: string, after: Check['after'] = [], explains: readonly FindingCode[] = []): Check {
  return { name, of: 'directory', after, explains, look: () => [] }
}

function makeItem(kind: Item['kind'], key: string, engine?: number): Item {
  return { kind, key, engine, value: {} as never }
}

const names = (waves: readonly (readonly Check[])[]) => waves.map(wave => wave.map(({ name }) => name))

test('checks run in waves, each after all that it depends on, else in the order in which they stand', () => {
  const after = (check: string) => [{ check, unless: [] }]
  const checks = [
    makeCheck('d', [...after('b'), ...after('c')]),
    makeCheck('a'),
    makeCheck('b', after('a')),
    makeCheck('c'),
  ]
  assert.deepEqual(names(orderChecks(checks)), [['a', 'c'], ['b'], ['d']])
})

test('a circle, an unknown dependency and two checks of one name are refused', () => {
  const circle = [makeCheck('a', [{ check: 'b', unless: [] }]), makeCheck('b', [{ check: 'a', unless: [] }])]
  assert.throws(() => orderChecks(circle), /wait for each other: a, b/)
  assert.throws(() => orderChecks([makeCheck('a', [{ check: 'x', unless: [] }])]), /a comes after x, which is no check/)
  assert.throws(() => orderChecks([makeCheck('a'), makeCheck('a')]), /one name/)
})

const silent = makeFinding('DISK_SILENT', 'here')
const here = makeItem('directory', '/here', 1)
const there = makeItem('directory', '/there', 1)
const stranger = makeItem('directory', '/far', 2)
const needsDisk = makeCheck('types', [{ check: 'space', unless: ['DISK_SILENT'] }])

function seenAt(item: Item, findings = [silent]): Seen[] {
  return [{ check: 'space', item, findings }]
}

test('what was found holds up what depends on it, at the same item only', () => {
  assert.equal(obstacleOf(needsDisk, here, seenAt(here)), silent)
  assert.equal(obstacleOf(needsDisk, there, seenAt(here)), undefined)
  assert.equal(obstacleOf(needsDisk, here, seenAt(here, [makeFinding('DISK_FULL', 'here')])), undefined)
  assert.equal(obstacleOf(makeCheck('free'), here, seenAt(here)), undefined)
})

test('what was found of an engine holds up all that belongs to it, and what was found of the host everything', () => {
  assert.equal(obstacleOf(needsDisk, here, seenAt(makeItem('engine', 'dockerd 1', 1))), silent)
  assert.equal(obstacleOf(needsDisk, stranger, seenAt(makeItem('engine', 'dockerd 1', 1))), undefined)
  assert.equal(obstacleOf(needsDisk, stranger, seenAt(makeItem('host', ''))), silent)
})

test('a problem takes away what it explains, at its own item; a warning does not', () => {
  const checks = [makeCheck('cause', [], ['DISK_FULL']), makeCheck('effect')]
  const effect = (item: Item) => ({ check: 'effect', item, findings: [makeFinding('DISK_FULL', item.key)] })
  const codes = (cause: Seen) =>
    withoutExplained(checks, [effect(here), effect(there), cause]).map(({ subject }) => subject)
  const problem = makeFinding('INODES_EXHAUSTED', 'cause')
  assert.deepEqual(codes({ check: 'cause', item: here, findings: [problem] }), ['/there', 'cause'])
  const warning = makeFinding('INODES_EXHAUSTED', 'cause', { severity: 'warning' })
  assert.deepEqual(codes({ check: 'cause', item: here, findings: [warning] }), ['/here', '/there', 'cause'])
})

test('what is in doubt is told as a note, with the doubt first; what is well, or sure all the same, stays so', () => {
  const item: Item = { ...here, doubt: { why: 'who knows', stands: ['DISK_FULL'] } }
  const codes = ['INODES_EXHAUSTED', 'DISK_FINE', 'DISK_FULL'] as const
  const findings = codes.map(code => makeFinding(code, 'x', { evidence: [`seen: ${code}`] }))
  const told = withoutExplained([makeCheck('cause')], [{ check: 'cause', item, findings }])
  assert.deepEqual(
    told.map(({ severity, evidence }) => [severity, ...evidence]),
    [
      ['note', 'who knows', 'seen: INODES_EXHAUSTED'],
      ['ok', 'seen: DISK_FINE'],
      ['problem', 'seen: DISK_FULL'],
    ],
  )
})
