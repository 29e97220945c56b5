import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeDocuments, packageRoot } from '../../scripts/write-docs.ts'
import { catalogue } from '../doctor/catalogue.ts'
import { errorTable } from '../errors.ts'

const documents = await makeDocuments()

for (const [path, text] of documents) {
  test(`${path} is what scripts/write-docs.ts writes now`, async () => {
    assert.equal(await readFile(join(packageRoot, path), 'utf8'), text)
  })
}

test('docs/errors.md and the error table have the same codes, statuses and hints', async () => {
  const text = await readFile(join(packageRoot, 'docs/errors.md'), 'utf8')
  const rows = [...text.matchAll(/^\| `(\w+)` \| (\d+) \| (yes|no) \| ([^|]+) \| ?([^|]*)\|$/gm)]
  const documented = Object.fromEntries(
    rows.map(([, code, exit, again, , hint]) => [code, [Number(exit), again === 'yes', hint?.trim() || undefined]]),
  )
  const actual = Object.entries(errorTable).map(([code, { exit, retryable, hint }]) => [code, [exit, retryable, hint]])
  assert.deepEqual(documented, Object.fromEntries(actual))
})

test('docs/findings.md and the catalogue have the same codes and severities', async () => {
  const text = await readFile(join(packageRoot, 'docs/findings.md'), 'utf8')
  const documented = [...text.matchAll(/^\| `(\w+)` \| (\w+) \|/gm)].map(([, code, severity]) => [code, severity])
  const actual = Object.entries(catalogue).map(([code, { severity }]) => [code, severity])
  assert.deepEqual(Object.fromEntries(documented), Object.fromEntries(actual))
})

test('the man page has no line that groff would take for an unknown request', () => {
  for (const line of (documents.get('man/windlass.1') ?? '').split('\n')) {
    if (/^[.']/.test(line)) assert.match(line, /^\.(TH|SH|SS|TP|PP|B|I|RS|RE|nf|fi|br)\b/)
  }
})

test('groff, where it is installed, reads the man page without a warning', t => {
  const { error, stderr, stdout } = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-z'], {
    input: documents.get('man/windlass.1') ?? '',
    encoding: 'utf8',
  })
  if (error !== undefined) return t.diagnostic('groff is not installed')
  assert.equal(stderr + stdout, '')
})
