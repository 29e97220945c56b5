/** The table of mutants against the source, the tests and docs/threat-model.md. `npm run mutants` runs them. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { beyondReach, mutants } from './mutants/mutants.ts'
import { mutate, tree } from './mutants/run.ts'

const text = readFileSync(join(tree, 'docs/threat-model.md'), 'utf8')
/** Class, guard and test of each row of the tables, without their heads. */
const rows = [...text.matchAll(/^\| (?!-)(.*) \| (.*) \| (.*) \|$/gm)]
  .map(([, name = '', guard = '', named = '']) => ({ name, guard, named }))
  .filter(({ named }) => named !== 'test')

test('what each mutant takes out is there', () => {
  for (const mutant of mutants) assert.doesNotThrow(() => mutate(mutant))
})

test('each row of the threat model names tests that are there', () => {
  assert.ok(rows.length > 30)
  for (const { name, named } of rows) {
    const paths = [...named.matchAll(/`([^`]+)`/g)].map(([, path = '']) => path)
    assert.ok(paths.length > 0, name)
    for (const path of paths) assert.ok(existsSync(join(tree, path)), `${name}: ${path}`)
  }
})

test('each row of the threat model with a guard has mutants, and they run tests that the row names', () => {
  for (const { name, guard, named } of rows) {
    const own = mutants.filter(({ row }) => name.startsWith(row))
    const isExempt = guard === '' || Object.keys(beyondReach).some(start => name.startsWith(start))
    assert.equal(own.length > 0, !isExempt, `${name}: ${own.length} mutants`)
    for (const { test } of own)
      assert.ok(
        named.includes(`\`${test}\``) || named.includes('`test/fuzz/`') || named.includes('beside them'),
        `${name}: ${test}`,
      )
  }
})

test('each mutant belongs to one row', () => {
  for (const { row } of mutants) assert.equal(rows.filter(({ name }) => name.startsWith(row)).length, 1, row)
})
