import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { TestDirectory } from '../../../test/unpack-tar.ts'
import { LiveHost } from '../../sys/host-view.ts'
import type { FoundEngine } from '../engines.ts'
import { openLayerFiles } from './layer-files.ts'

const O_PATH = 0o10000000

test('a pipe or a device with the name of a layer is none, and nobody waits for it', async () => {
  using directory = new TestDirectory()
  const name = (number: number): string => join(directory.path, `GetImageBlob${number}`)
  execFileSync('mkfifo', [name(1)])
  execFileSync('mknod', [name(2), 'c', '1', '3'])
  writeFileSync(name(3), 'layer')
  const held = [openSync(name(1), O_PATH), openSync(name(2), O_PATH), openSync(name(3), constants.O_RDONLY)]
  const host = new LiveHost()
  try {
    const engine = { kind: 'dockerd', process: { pid: process.pid } } as FoundEngine
    const files = await openLayerFiles(host, engine)
    assert.deepEqual(
      files.map(file => file.name),
      [name(3)],
    )
    for (const file of files) await file[Symbol.asyncDispose]()
  } finally {
    for (const fd of held) closeSync(fd)
  }
})
