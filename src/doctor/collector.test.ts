import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { codesOf, runCheck } from '../../test/checked.ts'
import { factsMax, RecordedHost } from '../sys/recorded-host.ts'
import { hungTasks } from './checks/hung-tasks.ts'
import { collectHere, collectorScript, readFactsFile } from './collector.ts'
import { diagnose } from './diagnose.ts'
import { isOfHost } from './engines.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-facts-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const look = (at: number) => [
  `f${at}.0`,
  `t/proc/7/stat:7 (dockerd) S 1 7 7 0 ${'0 '.repeat(46)}`,
  'l/proc/7/fd:',
  'llrwx------ 1 0 0 64 Jan  1 00:00 5 -> socket:[99]',
]
/** A dockerd that listens on a socket. */
const known = [
  ...[
    'windlass-facts 2',
    '=arch x86_64',
    '=now 1700000000 30.00',
    '=ls -lnb',
    'llrwxrwxrwx 1 0 0 0 Jan  1 00:00 /proc/7/exe -> /usr/bin/dockerd',
  ],
  ...['c/proc/7/cmdline', 'bdockerd', 'c/proc/7/environ', 'bPATH=/usr/bin'],
  't/proc/7/net/unix:0000000000000000: 00000002 00000000 00010000 0001 01 99 /run/docker.sock',
]
const question = 'a/run/docker.sock /version'

async function read(bytes: string | Buffer) {
  const path = join(directory, 'facts')
  writeFileSync(path, bytes)
  return await readFactsFile(path)
}

async function codes(lines: readonly string[]): Promise<string[]> {
  const { findings } = await diagnose(await read(lines.map(line => `${line}\n`).join('')), {
    signal: AbortSignal.timeout(60_000),
  })
  return codesOf(findings)
}

test('silent is who was asked, not whom a record that was cut, or a host without curl, did not ask', async () => {
  const looks = [...look(30), ...look(32)]
  assert.ok((await codes([...known, question, ...looks, 'z'])).includes('ENGINE_SILENT'))
  for (const lines of [
    [...known, ...looks, 'z'],
    [...known, ...looks, ...look(34), question],
  ]) {
    const seen = await codes(lines)
    assert.ok(seen.includes('ENGINE_RUNS') && !seen.includes('ENGINE_SILENT'), String(seen))
  }
})

test('whose socket two lines of the table name is asked nothing: one of them is part of a name', async () => {
  const forged = 't/proc/7/net/unix:0: 00000002 00000000 00010000 0001 01 99 /tmp/evil.sock'
  const answer = ['a/tmp/evil.sock /version', 'b{"Version":"1.2","ApiVersion":"1.41"}']
  const host = await read([...known, forged, ...answer, ...look(30), ...look(32), 'z', ''].join('\n'))
  const { engines } = await diagnose(host, { signal: AbortSignal.timeout(60_000) })
  assert.deepEqual(
    engines.map(({ sockets, version }) => [sockets, version]),
    [[[], undefined]],
  )
})

test('what a PowerShell has written to a file is read', async () => {
  const text = [...known, ...look(30), 'z', ''].join('\r\n')
  const host = await read(Buffer.from(`\uFEFF${text}`, 'utf16le'))
  assert.ok(host.isWhole)
  assert.equal(host.link('/proc/7/exe'), '/usr/bin/dockerd')
})

test('a program is run by the script, too, only if it has the root and the namespaces of the host, or is a file that root alone can replace', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const program = join(directory, 'podman')
  chmodSync(directory, 0o775)
  const installed = mkdtempSync('/var/lib/windlass-facts-')
  t.after(() => rmSync(installed, { recursive: true }))
  for (const place of [directory, installed]) copyFileSync('/bin/sleep', join(place, 'podman'))
  const look = async (file: string, ...args: readonly string[]) => {
    const child = spawn(file, args, { stdio: 'ignore' })
    t.after(() => child.kill('SIGKILL'))
    const pid = child.pid ?? assert.fail()
    while (readFileSync(`/proc/${pid}/comm`, 'latin1') !== 'podman\n') await sleep(5)
    const host = new RecordedHost(await collectHere({ pid, signal: t.signal }))
    const version = await host.tell(`/proc/${pid}/exe`, ['--version'])
    return [/ \d+\.\d+/.test(version ?? ''), await isOfHost(host, pid)]
  }
  const apart = ['--mount', join(installed, 'podman'), '60']
  const [beside, ofRoot, ...others] = await Promise.all([
    look(program, '60'),
    look('unshare', ...apart),
    look('unshare', '--mount', program, '60'),
    look('unshare', '--user', '--map-root-user', program, '60'),
  ])
  for (const other of others) assert.deepEqual(other, [false, false])
  assert.deepEqual(beside, [true, true])
  assert.deepEqual(ofRoot, [true, false])
  // Somebody else might replace it.
  chmodSync(installed, 0o775)
  assert.deepEqual(await look('unshare', ...apart), [false, false])
})

test('of the log of the kernel the script tells the complaints about tasks of engines and disks, and nothing else', async () => {
  const shims = join(directory, 'shims')
  mkdirSync(shims)
  const now = Number(process.hrtime.bigint() / 1_000_000_000n)
  const complaint = (task: string) => `[${now}.5] INFO: task ${task} blocked for more than 122 seconds. my words`
  const log = ['[ 1.0] my words', complaint('unpigz:77'), complaint('jbd2/sda1-8:9'), complaint('my words:12')]
  writeFileSync(join(shims, 'dmesg'), `#!/bin/sh\ncat <<'.'\n${log.join('\n')}\n.\n`, { mode: 0o755 })
  const env = { ...process.env, PATH: `${shims}:${process.env['PATH']}` }
  // Of no engine: it takes two seconds.
  const { stdout } = await promisify(execFile)('sh', ['-c', collectorScript(), 'sh', '1'], {
    env,
    maxBuffer: factsMax,
  })
  assert.doesNotMatch(stdout, /my words/)
  const told = (await runCheck(hungTasks, new RecordedHost(stdout))).flatMap(({ evidence }) => evidence)
  const held = (who: string) =>
    new RegExp(`^the kernel wrote \\d+ s ago that ${who} had been held for more than 122 s$`)
  assert.equal(told.length, 2)
  for (const [at, who] of ['unpigz 77', 'jbd2/sda1-8 9'].entries()) assert.match(told[at] ?? '', held(who))
})

test('the script looks for the sockets of an engine by what it has open, and by no name of a file', () => {
  const functions = /^find_sockets\(\) \{\n.*?^\}/ms.exec(collectorScript())?.[0] ?? assert.fail()
  const proc = join(directory, 'proc')
  mkdirSync(join(proc, '7/net'), { recursive: true })
  const open = (fd: number, target: string) => `lrwx------ 1 0 0 64 Jan  1 00:00 ${fd} -> ${target}\n`
  writeFileSync(
    join(proc, '7/fd'),
    [5, 7, 9, 11].map(fd => open(fd, `socket:[${100 + fd}]`)).join('') + open(8, '/x -> socket:[108]'),
  )
  const line = (inode: number, path: string) => `0: 00000002 00000000 00010000 0001 01 ${inode} ${path}\n`
  const all = [5, 6, 7, 8, 9].map(number => line(100 + number, `/run/${number}`))
  const connected = (inode: number) => `0: 00000003 00000000 00000000 0001 03 ${inode}\n`
  const forged = [line(107, '/tmp/forged'), connected(111), line(111, '/tmp/connected'), line(1105, '/run/1105')]
  writeFileSync(join(proc, '7/net/unix'), [...all, ...forged].join(''))
  const script = `newline='\n'\nshow() { cat "$1"; }\n${functions.replaceAll('/proc/', `${proc}/`)}\npid=7; find_sockets; echo $sockets`
  for (const shell of ['sh', 'bash'])
    assert.equal(execFileSync(shell, ['-c', script], { encoding: 'utf8' }), '/run/5 /run/9\n')
})

/** A function of the script, with those that it needs, run by each shell that is here. */
function runFunctions(names: readonly string[], script: string, env: NodeJS.ProcessEnv = {}): string[] {
  const text = collectorScript()
  const functions = names.map(
    name => new RegExp(`^${name}\\(\\) [{(]\\n.*?^[})]`, 'ms').exec(text)?.[0] ?? assert.fail(name),
  )
  const shells = [['sh'], ['bash'], ['busybox', 'sh']]
  return shells.map(([shell = '', ...args]) =>
    execFileSync(shell, [...args, '-c', `own=${process.geteuid?.()}\n${functions.join('\n')}\n${script}`], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    }),
  )
}

test('of a connection the script tells its ports, its socket, and how much came and was sent when, and not with whom it is', () => {
  const counters =
    'ts sack bbr wscale:10,10 rto:204 backoff:3 rtt:0.03/0.01 bytes_sent:3 bytes_acked:4 bytes_received:77 segs_out:3 bbr:(bw:6bps,mrtt:0.03) send 7bps lastsnd:2504 lastrcv:4008 lastack:2 app_limited'
  const established = [
    ...['0 0 [::ffff:10.0.0.1]:34740 192.0.2.9:443 ino:18 sk:3d cgroup:/ <->', `\t ${counters}`],
    ...['0 0 10.0.0.1:5 [2001:db8::1]:5000 ino:19 sk:3e', '\t cubic lastrcv:7', ''],
  ]
  const path = join(directory, 'told-by-ss')
  writeFileSync(path, established.join('\n'))
  const ss = `tab=$(printf '\\t'); ss() { case $* in *established) cat ${path} ;; *) echo '0 128 *:2024 *:* ino:16 sk:1' ;; esac; }`
  const wanted = [
    ...['ass -tneiH state established', 'b0 0 *:34740 *:443 ino:18'],
    'b backoff:3 bytes_sent:3 bytes_acked:4 bytes_received:77 lastsnd:2504 lastrcv:4008',
    ...['b0 0 *:5 *:5000 ino:19', 'b lastrcv:7', 'ass -tneiH state listening', 'b0 128 *:2024 *:* ino:16'],
  ]
  for (const told of runFunctions(['tell_connections'], `${ss}; tell_connections`))
    assert.deepEqual(told.replaceAll('\t', '').trimEnd().split('\n'), wanted)
})

test('the script runs and asks only what nobody but root and the one who runs it can have put there', {
  skip: process.getuid?.() !== 0,
}, () => {
  const [mine, theirs] = ['own-mine', 'own-theirs'].map(name => join(directory, name)) as [string, string]
  for (const place of [mine, theirs]) mkdirSync(join(place, 'below'), { recursive: true })
  for (const place of [mine, theirs]) writeFileSync(join(place, 'below/program'), '', { mode: 0o755 })
  chmodSync(directory, 0o755)
  chownSync(theirs, 65_534, 65_534)
  symlinkSync('../own-mine/below', join(theirs, 'link'))
  symlinkSync(join(mine, 'below/program'), join(theirs, 'file'))
  symlinkSync(join(theirs, 'below/program'), join(mine, 'out'))
  symlinkSync('below/../below/program', join(mine, 'in'))
  const judge = (path: string) => runFunctions(['is_own', 'own_path'], `own_path '${path}' || echo no`)
  const program = join(mine, 'below/program')
  for (const path of [program, join(mine, 'in'), join(theirs, 'link/program')])
    assert.deepEqual(judge(path), Array(3).fill(`${program}\n`), path)
  for (const path of ['below/program', 'file', 'missing'].map(name => join(theirs, name)))
    assert.deepEqual(judge(path), Array(3).fill('no\n'), path)
  const given = join(mine, 'given')
  writeFileSync(given, '', { mode: 0o755 })
  chownSync(given, 65_534, 65_534)
  for (const path of [join(mine, 'out'), given]) assert.deepEqual(judge(path), Array(3).fill('no\n'), path)
  for (const mode of [0o775, 0o757]) {
    chmodSync(mine, mode)
    assert.deepEqual(judge(program), Array(3).fill('no\n'), String(mode))
    chmodSync(mine, 0o1000 | mode)
    assert.deepEqual(judge(program), Array(3).fill(`${program}\n`), 'as in /tmp')
  }
})
