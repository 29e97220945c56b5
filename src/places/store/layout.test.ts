import assert from 'node:assert/strict'
import fs, { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openLayout } from './layout.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-layout-'))
after(() => rmSync(directory, { recursive: true, force: true }))

/** Opens it while another process makes it, right after it was looked for. */
function openBesideMaker(root: string, version: string) {
  const { existsSync } = fs
  fs.existsSync = path => {
    const found = existsSync(path)
    if (path === join(root, 'version') && !found) {
      mkdirSync(root, { recursive: true })
      writeFileSync(path, version)
    }
    return found
  }
  syncBuiltinESMExports()
  try {
    return openLayout(root, true)
  } finally {
    fs.existsSync = existsSync
    syncBuiltinESMExports()
  }
}

test('a store that another process makes at the same moment is no directory with other files', () => {
  for (const version of ['1\n', '']) {
    const root = join(directory, `made${version.length}`)
    assert.equal(openBesideMaker(root, version).root, root)
  }
  assert.throws(() => openBesideMaker(join(directory, 'newer'), '2\n'), /its layout is version "2"/)
})
