import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { TestDirectory } from '../../test/unpack-tar.ts'

const told = [
  { by: 'on the command line', args: ['--input-type=module'], env: {} },
  { by: 'in the environment', args: [], env: { NODE_OPTIONS: '--input-type=module' } },
]

for (const { by, args, env } of told) {
  test(`a thread runs its file where this process runs a text, as told ${by}`, async () => {
    using directory = new TestDirectory()
    const file = join(directory.path, 'thread.mjs')
    writeFileSync(file, "import { parentPort } from 'node:worker_threads'\nparentPort.postMessage('it runs')\n")
    const text = `
      import { startThread } from ${JSON.stringify(new URL('thread.ts', import.meta.url))}
      const worker = startThread(new URL(${JSON.stringify(pathToFileURL(file))}))
      worker.on('message', message => console.log(message))
    `
    const { stdout } = await promisify(execFile)(process.execPath, [...args, '-e', text], { env })
    assert.equal(stdout, 'it runs\n')
  })
}
