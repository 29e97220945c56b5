/** Where engines that hold nothing open there keep images, told by themselves or by their files: on the spot, and from what the collector writes down. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { program, type Visit } from './doctor-bed.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-doctor-crio-'))
const at = (name: string) => join(directory, name)
const children: ChildProcess[] = []

before(async () => {
  for (const name of ['told', 'told-big', 'filed', 'kept', 'crio.conf.d']) mkdirSync(at(name))
  writeFileSync(at('collect.sh'), await run(program, ['doctor', '--emit-collector']))
})
after(async () => {
  for (const child of children) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  rmSync(directory, { recursive: true, force: true })
})

/** What looks like such an engine. */
async function startAs(name: string, script: string, args: readonly string[], more: Record<string, string> = {}) {
  const named = `require('node:fs').writeFileSync('/proc/self/comm', '${name}');${script};setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['-e', named, '--', ...args], {
    stdio: 'ignore',
    env: { PATH: '/usr/bin:/bin', ...more },
  })
  children.push(child)
  const pid = child.pid ?? 0
  await waitUntil('it has its name', 10_000, () => readFileSync(`/proc/${pid}/comm`, 'utf8') === `${name}\n`)
  return pid
}

/** What is said on the spot and elsewhere of where images are, and of layers on their way. */
async function placesOf(pid: number): Promise<readonly (readonly string[])[]> {
  const facts = at('facts')
  writeFileSync(facts, await run('dash', [at('collect.sh'), String(pid)]))
  const commands = [
    ['--pid', String(pid)],
    ['--from', facts],
  ]
  return await Promise.all(
    commands.map(async command => {
      const { stdout, stderr } = await runCommand(program, ['doctor', '--json', ...command])
      assert.notEqual(stdout, '', stderr)
      const { findings } = JSON.parse(stdout) as Visit
      const roots = findings.filter(({ code }) => code === 'ENGINE_RUNS').map(({ facts }) => String(facts['dataRoot']))
      const disks = findings.filter(({ area, code }) => area === 'disks' && code !== 'DISKS_UNSEEN')
      const paths = disks.map(({ subject }) => subject.replace(/^\S+ \d+: /, ''))
      return [...roots, ...new Set(paths.toSorted())]
    }),
  )
}

test('a CRI-O tells by itself where images are, and layers on their way; where it is stopped its files tell', async () => {
  const socket = at('s')
  const answer = `[crio]\\n  root = "${at('told')}"\\n  imagestore = ""\\n  [crio.image]\\n    big_files_temporary_dir = "${at('told-big')}"\\n`
  const script = `require('node:http').createServer((request, response) => request.url === '/config' ? response.end('${answer}') : response.writeHead(404).end()).listen('${socket}')`
  writeFileSync(at('crio.conf'), '[crio]\nroot = "/nowhere"\n[crio.api]\ntoken = "hunter2"\n')
  writeFileSync(at('crio.conf.d/10.conf'), `[crio]\nroot = "${at('filed')}"\n`)
  const pid = await startAs('crio', script, ['--config', at('crio.conf'), '--config-dir', at('crio.conf.d')])
  await waitUntil('it answers', 10_000, async () => {
    const { status } = await runCommand('curl', ['-sf', '--unix-socket', socket, 'http://localhost/config'])
    return status === 0
  })
  const told = [at('told'), at('told'), at('told-big')]
  assert.deepEqual(await placesOf(pid), [told, told])
  process.kill(pid, 'SIGSTOP')
  const filed = [at('filed'), at('filed'), '/var/tmp']
  assert.deepEqual(await placesOf(pid), [filed, filed])
  assert.doesNotMatch(readFileSync(at('facts'), 'utf8'), /hunter/)
})

test('what the file of a podman says of its images is in a record, too', async () => {
  writeFileSync(at('storage.conf'), `[storage]\ngraphroot = "${at('kept')}"\n`)
  const pid = await startAs('podman', '', ['pull', 'host/app:1'], { CONTAINERS_STORAGE_CONF: at('storage.conf') })
  const kept = [at('kept'), at('kept'), '/var/tmp']
  assert.deepEqual(await placesOf(pid), [kept, kept])
})
