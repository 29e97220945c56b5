import assert from 'node:assert/strict'
import fs from 'node:fs'
import { access, readFile, realpath, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { TestDirectory } from '../../test/unpack-tar.ts'

interface Report {
  /** Calls that were not refused by the wall, with what they did instead. */
  readonly open: string[]
  readonly tried: number
  readonly root: string[]
  readonly outside: boolean
  readonly mask: number
}

/** Walks in, then tries every way out, with arguments that would lead to a file of the test's outside. */
const prisoner = `
  const { workerData, parentPort } = require('node:worker_threads')
  const fs = require('node:fs'), promises = require('node:fs/promises')
  const { setImmediate: turn } = require('node:timers/promises')
  const module_ = require('node:module'), require_ = require
  import(workerData.module).then(async ({ enterWall, wallMessage }) => {
    const esm = await import('node:fs/promises')
    const programs = require('node:child_process'), threads = require('node:worker_threads')
    const started = { ...programs, execFilePromise: require('node:util').promisify(programs.execFile) }
    const { default: koffi } = await import(workerData.koffi), libc = await import(workerData.libc)
    const outer = fs.openSync(workerData.outer), inner = fs.openSync(workerData.directory)
    enterWall(outer)
    // From one layer to the next.
    enterWall(inner)
    const report = { open: [], tried: 0, root: fs.readdirSync('/'), outside: fs.existsSync(workerData.secret), mask: process.umask() }
    const attempt = async (name, call) => {
      report.tried++
      try {
        report.open.push(name + ' gave ' + (await call()))
      } catch (error) {
        if (error.message !== wallMessage) report.open.push(name + ' threw ' + error.message)
      }
    }
    for (const name of Object.keys(fs)) {
      const value = fs[name]
      if (typeof value !== 'function' || name.endsWith('Sync') || /^(Stats|Dirent|Dir|_toUnixTimestamp)$/.test(name)) continue
      await attempt('fs.' + name, () => value(workerData.secret, () => {}))
    }
    for (const [kind, object] of Object.entries({ promises: fs.promises, required: promises, imported: esm }))
      for (const name of Object.keys(object))
        if (typeof object[name] === 'function') await attempt(kind + '.' + name, () => object[name](workerData.secret))
    for (const [name, call] of Object.entries(programs))
      if (typeof call === 'function') await attempt('child_process.' + name, () => call('/evil', () => {}))
    for (const name of ['spawn', 'execFile', 'exec', 'fork', 'execFilePromise'])
      await attempt(name + ' from before', () => started[name]('/evil', []))
    await attempt('a thread', () => new (threads.Worker)('1', { eval: true }))
    await attempt('syncfs of the pool', () => libc.syncfsAsync(0))
    await attempt('a library', () => koffi.load('/evil.so'))
    await attempt('require of a file', () => require_('/evil.cjs'))
    await attempt('require of a builtin', () => require_('node:child_process'))
    await attempt('import of a file', () => import('/evil.mjs'))
    await attempt('import of a file by URL', () => import('file:///evil.mjs'))
    await attempt('import of data', () => import('data:text/javascript,export default 1'))
    await attempt('createRequire', () => module_.createRequire('/evil.cjs')('/evil.cjs'))
    await attempt('dlopen', () => process.dlopen({ exports: {} }, '/evil.node'))
    await attempt('binding', () => process.binding('fs'))
    await attempt('getBuiltinModule', () => process.getBuiltinModule('node:fs'))
    await attempt('loadEnvFile', () => process.loadEnvFile('/evil.env'))
    await attempt('chdir', () => process.chdir('/'))
    await turn()
    parentPort.postMessage(report)
    Atomics.wait(new Int32Array(workerData.until), 0, 0)
  }).catch(error => parentPort.postMessage({ open: [error.stack], tried: 0, root: [], outside: true, mask: -1 }))`

test('behind the wall no call reaches outside, nothing can be loaded, and the process keeps its root meanwhile', async () => {
  using directory = new TestDirectory()
  using outside = new TestDirectory()
  using outer = new TestDirectory()
  const secret = join(outside.path, 'secret')
  await writeFile(secret, 'outside')
  for (const name of ['evil.cjs', 'evil.mjs', 'evil.env'])
    await writeFile(join(directory.path, name), 'throw new Error("loaded")')
  await access('/')
  const until = new SharedArrayBuffer(4)
  const worker = new Worker(prisoner, {
    eval: true,
    workerData: {
      outer: outer.path,
      directory: directory.path,
      secret,
      until,
      module: new URL('./wall.ts', import.meta.url).href,
      libc: new URL('../sys/libc.ts', import.meta.url).href,
      koffi: import.meta.resolve('koffi'),
    },
  })
  const report = await new Promise<Report>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  try {
    assert.deepEqual(report.open, [])
    assert.ok(report.tried > 100, `${report.tried} ways out were tried`)
    assert.deepEqual(report.root.sort(), ['evil.cjs', 'evil.env', 'evil.mjs'])
    assert.equal(report.outside, false)
    assert.equal(report.mask, 0)
    // The wall stands while this runs: the main thread, every thread of the pool and their mask are as before.
    assert.deepEqual(
      await Promise.all(Array.from({ length: 16 }, () => readFile(secret, 'utf8'))),
      Array(16).fill('outside'),
    )
    assert.equal(fs.readFileSync(secret, 'utf8'), 'outside')
    assert.equal(await realpath('/proc/self/root'), '/')
    assert.notEqual(process.umask(), 0)
  } finally {
    const ended = new Promise(resolve => worker.once('exit', resolve))
    Atomics.store(new Int32Array(until), 0, 1)
    Atomics.notify(new Int32Array(until), 0)
    await ended
  }
})
