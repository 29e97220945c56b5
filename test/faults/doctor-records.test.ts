/** What an ordinary user, a build and an engine of any kind may put into a record: nothing but what is so. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { diagnose } from '../../src/doctor/diagnose.ts'
import { RecordedHost } from '../../src/sys/recorded-host.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { program } from './doctor-bed.ts'

const row = { timeout: 240_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-records-'))
const collector = join(directory, 'collect.sh')
/** With the tools of busybox alone, whose ls has a way of its own. */
const bare = join(directory, 'bare.sh')
const shells = [['dash'], ['bash'], ['busybox', 'sh']] as const
const { signal } = new AbortController()

before(async () => {
  chmodSync(directory, 0o777)
  const script = await run(program, ['doctor', '--emit-collector'])
  writeFileSync(collector, script)
  const tools = join(directory, 'tools')
  mkdirSync(tools)
  for (const tool of ['grep', 'sed', 'ls', 'cat', 'tr', 'sleep', 'uname', 'date', 'stat'])
    writeFileSync(join(tools, tool), `#!/bin/busybox sh\nexec /bin/busybox ${tool} "$@"\n`, { mode: 0o755 })
  writeFileSync(bare, script.replace(/^PATH=.*$/m, `PATH=${tools}`))
})
after(() => rmSync(directory, { recursive: true, force: true }))

async function collect(
  [file, ...args]: readonly [string, ...string[]],
  pid: number,
  script = collector,
): Promise<string> {
  return await run(file, [...args, script, String(pid)], { timeoutMs: 240_000 })
}

/** @returns when it has said a line, with what it said */
async function saysLine(child: ChildProcess): Promise<string> {
  const ended = once(child, 'exit').then(() => [''])
  const [data] = await Promise.race([once(child.stdout ?? assert.fail(), 'data'), ended])
  return String(data).trim()
}

/**
 * What calls itself containerd, is nobody's, and puts lines about a process of somebody else wherever a name, a word or a content of its own may stand: names of open files, of parts of
 * layers, of a socket, of a directory that it works in, its words, its environment, and the files beside a layer.
 */
const forger = `
  use POSIX; use Socket;
  my ($base, $victim, $engine) = @ARGV;
  open(my $comm, '>', '/proc/self/comm'); print $comm 'containerd'; close $comm;
  my @zeros = ('0') x 40;
  my $stat = "$victim (x/unpigz) S $$ 1 1 0 -1 @zeros";
  my @lines = map { ("$_", "t$_", "l$_", "b$_") } (
    "/proc/$victim/stat:$stat", "/proc/$victim/task/$victim/stat:$stat", "/proc/$victim/task/$victim/wchan:futex_wait_queue",
    "/proc/$victim/task/$victim/syscall:202 0x0", "/proc/$victim/io:rchar: 100000", "/proc/$victim/io:wchar: 90000");
  push @lines, map { ("$_\\nlr-x------ 1 0 0 64 Nov 27 14:00 0 -> pipe:[111]", "$_\\nllr-x------ 1 0 0 64 Nov 27 14:00 0 -> pipe:[111]") } ("/proc/$victim/fd:", "l/proc/$victim/fd:");
  push @lines, "c/proc/$victim/cmdline\\nbunpigz\\nb-d", "!/proc/$victim/fd", "?/proc/$victim/fd", "windlass-end-", "z";
  sub make { my $path = ''; my @parts = split m{/}, shift; my $name = pop @parts; for (@parts) { $path .= "$_/"; mkdir $path }
    open(my $file, '+>', "$path$name") or die "$path$name: $!"; print $file "12\\n$lines[0]\\n"; return $file }
  my $number = 0;
  my @kept;
  for my $line (@lines) {
    $number++;
    push @kept, make("$base/f$number\\n$line");
    push @kept, make("$base/g$number\\\\n$line");
    my $part = "$base/d$number/io.containerd.content.v1.content/ingest/i\\n$line";
    push @kept, make("$part/$_") for ('data', 'total', 'ref');
    push @kept, make("$base/d$number/io.containerd.metadata.v1.bolt/meta.db");
    push @kept, make("$base/e$number\\n$line/io.containerd.metadata.v1.bolt/meta.db");
  }
  push @kept, make("$base/plain data/io.containerd.content.v1.content/ingest/i1/data");
  chdir $base;
  socket(my $socket, PF_UNIX, SOCK_STREAM, 0);
  my $entry = "s\\n0: 00000002 00000000 00010000 0001 01 1 "; mkdir $entry;
  bind($socket, sockaddr_un("$entry/x\\nt")) or die $!;
  listen($socket, 1);
  $| = 1; print "ready\\n"; readline STDIN;
`

describe('a record of a host on which somebody forges', { concurrency: 1 }, () => {
  test('whatever he writes into names, words and files says nothing of others, in any shell', row, async () => {
    const victim = spawn('sleep', ['600'], { stdio: 'ignore' })
    const told = ['--reuid', '65534', '--regid', '65534', '--clear-groups', 'perl', '-e', forger, directory]
    const line = `\n/proc/${victim.pid}/stat:${victim.pid} (x/unpigz) S 1`
    const env = { PATH: `/bin:${line}:/${line}`, CONTAINERD_X: line, HTTPS_PROXY: line }
    const evil = spawn('setpriv', [...told, String(victim.pid), `--root=/x${line}`, line], {
      env: { ...env, LC_ALL: 'C' },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    try {
      assert.equal(await saysLine(evil), 'ready')
      const own = `/proc/${victim.pid}/`
      const asked = shells.map(shell => collect(shell, evil.pid ?? 0))
      const texts = await Promise.all([...asked, collect(['busybox', 'sh'], evil.pid ?? 0, bare)])
      for (const [at, text] of texts.entries()) {
        const shell = shells[at] ?? ['only busybox']
        const about = text.split('\n').filter(line => line.slice(0, 2).includes('/') && line.slice(0, 20).includes(own))
        assert.ok(about.length > 0, shell.join(' '))
        const forged = about.filter(line => /^[c!?]|unpigz|\[111\]|futex|[rw]char/.test(line))
        assert.deepEqual(forged, [], shell.join(' '))
        assert.ok(text.includes(`/proc/${evil.pid}/fd:`) && text.includes('plain'), 'he was looked at')
        const host = new RecordedHost(text)
        assert.ok(host.isWhole)
        assert.match(host.text(`${own}stat`) ?? '', /\(sleep\) S/)
        assert.deepEqual([host.link(`${own}fd/0`), host.text(`${own}cmdline`)], [undefined, undefined])
        assert.equal(host.silent.has(`${own}fd`) || host.denied.has(`${own}fd`), false)
        const { findings } = await diagnose(host, { signal, pid: evil.pid })
        const accusing = findings.filter(finding => JSON.stringify(finding).includes(`unpigz ${victim.pid}`))
        assert.deepEqual(accusing, [])
      }
    } finally {
      evil.stdin.end()
      victim.kill()
    }
  })

  test('names with blanks and letters of any kind are told as they are', row, async () => {
    const name = join(directory, '镜像 é\\n%d')
    writeFileSync(name, '')
    const holder = spawn(
      'bash',
      ['-c', 'printf containerd >/proc/$$/comm; exec 7<"$1"; echo ready; read -r line', 'x', name],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    try {
      assert.equal(await saysLine(holder), 'ready')
      const texts = await Promise.all(shells.map(shell => collect(shell, holder.pid ?? 0)))
      const seen = texts.map(text => new RecordedHost(text).link(`/proc/${holder.pid}/fd/7`))
      assert.deepEqual(
        seen,
        shells.map(() => name),
      )
    } finally {
      holder.stdin.end()
    }
  })

  test('no name reaches a line through the echo of a shell, which may take a \\n in it for an end', () => {
    const script = readFileSync(collector, 'utf8')
    const echoes = [...script.matchAll(/\becho\s.*\$.*/g)].map(([line]) => line)
    const own = /^echo "(\$late|\$last_line|f\$uptime|ass -tneiH state \$state)"$|PPID/
    assert.deepEqual(
      echoes.filter(line => !own.test(line)),
      [],
    )
    assert.doesNotMatch(script.replaceAll(/^\s*#.*$/gm, ''), /\bls -l\b/)
  })
})

test('what a build runs is told by its name alone, and what decompresses as before', row, async () => {
  const secret = (place: string): string => `hunter2${place}`
  const script = `printf podman >/proc/$$/comm
    sh -c 'mysql -uroot -p${secret('a')} -e "select 1"; sleep 600' & sh -c ': curl -u bob:${secret('b')} | /usr/bin/gzip; sleep 600; :' &
    sleep 600 | perl -e 'sleep 600' sshpass -p ${secret('c')} login -p ${secret('d')} htpasswd -bc f admin ${secret('e')} -d -c | cat >/dev/null &
    sleep 600 | gzip -d -c | cat & read -r line; kill $(jobs -p); kill 0`
  const file = join(directory, 'build.sh')
  writeFileSync(file, script)
  const engine = spawn('bash', [file, 'podman', 'build', '.'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  const pid = engine.pid ?? 0
  const children = () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
  const name = (child: string) => readFileSync(`/proc/${child}/comm`, 'utf8').trim()
  try {
    await waitUntil('all of it runs', 10_000, () => {
      const names = children().map(name)
      return (
        ['gzip', 'perl', 'cat'].every(one => names.includes(one)) &&
        readFileSync(`/proc/${pid}/comm`, 'utf8') === 'podman\n'
      )
    })
    const texts = await Promise.all(shells.map(shell => collect(shell, pid)))
    for (const [at, text] of texts.entries()) {
      const shell = shells[at] ?? assert.fail()
      assert.deepEqual(
        text.split('\n').filter(line => /hunter2|mysql|htpasswd/.test(line)),
        [],
        shell.join(' '),
      )
      const host = new RecordedHost(text)
      const find = (wanted: string) => `/proc/${children().find(child => name(child) === wanted)}/cmdline`
      assert.equal(host.text(find('gzip')), 'gzip\0-d\0-c\0')
      assert.equal(host.text(find('perl')), 'perl\0-d\0-c\0')
      assert.equal(host.text(find('cat')), undefined)
    }
  } finally {
    engine.stdin.end()
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {} // it has ended
  }
})

test('of an engine that is no docker, version and decompressor are told elsewhere as on the spot', row, async () => {
  const shims = mkdtempSync(join(directory, 'shims-'))
  writeFileSync(join(shims, 'unpigz'), '#!/bin/sh\nexec gzip "$@"\n', { mode: 0o755 })
  await using containerd = await startContainerd(mkdtempSync(join(directory, 'data-')), shims)
  const pid = String(containerd.pid)
  const look = async (...more: string[]) => {
    const { stdout, stderr } = await runCommand(program, ['doctor', '--json', '--pid', pid, ...more])
    const { engines, findings } = JSON.parse(stdout || assert.fail(stderr))
    const { version, decompressors } = engines[0]
    const isSteady = ({ area }: { area: string }) => area === 'engines' || area === 'decompressors'
    const told = findings
      .filter(isSteady)
      .map(({ code, subject, evidence }: Record<string, unknown>) => [code, subject, evidence])
    return { version, decompressors, told }
  }
  const live = await look()
  assert.match(String(live.version), /^\d+\.\d+/)
  const facts = join(directory, 'containerd.txt')
  const texts = await Promise.all(shells.map(shell => collect(shell, containerd.pid)))
  for (const [at, text] of texts.entries()) {
    const shell = shells[at] ?? assert.fail()
    writeFileSync(facts, `${text}\n`)
    assert.deepEqual(await look('--from', facts), live, shell.join(' '))
  }
})
