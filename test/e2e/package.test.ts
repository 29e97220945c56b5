import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run, runCommand } from '../testbed/command.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
let directory: string

/** The package as npm would publish it, installed in a project of its own. */
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-package-'))
  const [{ filename }] = JSON.parse(await run('npm', ['pack', '--json', '--pack-destination', directory, checkout]))
  await writeFile(join(directory, 'package.json'), '{ "private": true, "type": "module" }\n')
  await run('npm', ['install', '--prefix', directory, '--no-audit', '--no-fund', join(directory, filename)])
})
after(() => rm(directory, { recursive: true, force: true }))

const installed = () => join(directory, 'node_modules', '.bin', 'windlass')

test('the installed command runs under the Node 26 on the PATH and shows the whole job', async () => {
  const env = { PATH: `${join(process.execPath, '..')}:/usr/bin:/bin` }
  const { version } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8'))
  assert.match(await run(installed(), ['version'], { env }), new RegExp(version.replaceAll('.', '\\.')))
  const demo = await runCommand(installed(), ['demo', '--size', '20'], { env })
  assert.equal(demo.status, 0, demo.stderr)
  assert.match(demo.stdout, /^127\.0\.0\.1:\d+\/demo:latest@sha256:[0-9a-f]{64}\n$/)
})

test('without a Node 26 it says what to do', async () => {
  const path = join(directory, 'old')
  await run('mkdir', [path])
  for (const tool of ['sh', 'readlink', 'dirname', 'uname', 'echo', 'env'])
    await symlink(`/usr/bin/${tool}`, join(path, tool))
  await writeFile(join(path, 'node'), '#!/bin/sh\necho v20.20.2\n', { mode: 0o755 })
  const result = await runCommand(installed(), ['version'], { env: { PATH: path } })
  assert.equal(result.status, 1)
  assert.match(result.stderr, /no Node 26 \(found: v20\.20\.2\)/)
})

test('the library pulls with typed events', async () => {
  const program = `
    import { noCredentials, pull, serveRegistry, isWindlassError } from 'windlass'
    const registry = await serveRegistry({ directory: process.argv[2] + '/registry' })
    const run = pull(registry.host + '/nothing:here', { root: process.argv[2] + '/store', credentials: noCredentials })
    const types = []
    for await (const event of run) types.push(event.type)
    const error = await run.result.catch(error => error)
    await registry.close()
    console.log(JSON.stringify({ types, code: isWindlassError(error) && error.code, exit: error.exitStatus }))`
  await writeFile(join(directory, 'program.js'), program)
  const answer = await run(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    join(directory, 'program.js'),
    directory,
  ])
  assert.deepEqual(JSON.parse(answer), { types: ['start'], code: 'NOT_FOUND', exit: 2 })
})
