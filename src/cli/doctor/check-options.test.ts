import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkOptions } from './check-options.ts'

const nothing = {
  rescue: false,
  fixes: false,
  watch: false,
  try: false,
  'install-service': false,
  'emit-collector': false,
}

const refused: readonly (readonly [Readonly<Record<string, unknown>>, RegExp])[] = [
  [{ rescue: true, fix: 'shim-dockerd' }, /--fix with --rescue: one thing at a time/],
  [{ fix: 'x', undo: 'last' }, /--undo with --fix: one thing at a time/],
  [{ rescue: true, report: 'x.html' }, /--report with --rescue: it is for a look/],
  [{ fixes: true, try: true }, /--try with --fixes: it is for a look/],
  [{ undo: 'last', from: 'facts' }, /--undo with --from: it concerns this host, not that one/],
  [{ fix: 'x', watch: true }, /--watch with --fix: it is done once/],
  [{ watch: true, metrics: 'x.prom' }, /--metrics: it is for --watch --rescue, and for --install-service/],
  [{ rescue: true, 'give-up': 5 }, /--give-up: it is for --watch --rescue/],
  [{ 'install-service': true, 'give-up': 5 }, /--give-up: it is for --watch --rescue/],
]

for (const [options, message] of refused) {
  test(`${Object.keys(options).join(' and ')} do not go together, and it is said so`, () => {
    assert.throws(() => checkOptions({ ...nothing, ...options }), { code: 'USAGE', message })
  })
}

test('what goes together is taken', () => {
  const all = [
    { report: 'x.html', bundle: 'x', try: true, image: 'app' },
    { watch: true, host: 'ssh://node' },
    { rescue: true, watch: true, yes: true, metrics: 'x.prom', 'give-up': 5, image: 'app', pid: 1 },
    { 'install-service': true, metrics: 'x.prom' },
    { fix: 'deliver-dockerd', image: 'app', 'dry-run': true },
  ]
  for (const options of all) checkOptions({ ...nothing, ...options })
})
