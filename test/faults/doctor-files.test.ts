/** What the doctor writes and prints: its files are whole, private, and without a secret; what it does not understand it refuses. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import type { Finding } from '../../src/doctor/finding.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { program, startInUnit } from './doctor-bed.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-files-'))
const row = { timeout: 240_000 }
const disks = /^t\/proc\/diskstats: *\d+ +\d+ \w/m
/** Directories whose names sound like secrets. */
const paths = '/usr/sbin:/usr/bin:/sbin:/bin:/x/keys:/y/session=1:/z tokens:/opt/Auth0a1b2c3d4e5f6a7b8c9d0e/bin'
after(() => rmSync(directory, { recursive: true, force: true }))

/** Of a kind of its own for each place, so that a failure names the place. */
const secret = (place: string): string => `hunter2${place}`
/** As docker keeps a name and a password: nothing else is written in this way, so that its own letters are looked for. */
const packed = Buffer.from(`me:${secret('auth')}`).toString('base64')

/** What it says itself where what it asked did not come in time: a host may be so busy. */
function isUnanswered(findings: readonly Finding[]): boolean {
  const isUnfinished = ({ code, evidence }: Finding) =>
    code === 'CHECK_UNFINISHED' && evidence.some(line => line.startsWith('unit-settings '))
  return findings.some(
    finding => /^(FILES_UNANSWERED|PROCESS_MEMORY_HELD)$/.test(finding.code) || isUnfinished(finding),
  )
}

describe('what the doctor gives away of an engine full of secrets', { concurrency: 1 }, () => {
  const config = join(directory, 'daemon.json')
  const images = join(directory, '镜像 目录é')
  let engine: Awaited<ReturnType<typeof startInUnit>>
  before(async () => {
    const home = join(directory, 'home')
    mkdirSync(images)
    for (const path of ['.docker', '.config/containers']) mkdirSync(join(home, path), { recursive: true })
    mkdirSync(join(directory, 'certs.d/127.0.0.1:1'), { recursive: true })
    for (const path of ['.docker/config.json', '.config/containers/auth.json']) {
      const entry = { auth: packed, identitytoken: secret('identity'), registrytoken: secret('registry') }
      const proxies = { default: { httpProxy: `http://me:${secret('clientproxy')}@h:1` } }
      writeFileSync(join(home, path), JSON.stringify({ auths: { 'r.example': entry, '127.0.0.1:1': entry }, proxies }))
    }
    writeFileSync(join(directory, 'config.toml'), `[plugins]\n  password = "${secret('toml')}"\n  auth = "${packed}"\n`)
    const header = `[host."https://r".header]\n  Authorization = "${secret('hosts')}"\n`
    for (const path of ['hosts.toml', 'certs.d/127.0.0.1:1/hosts.toml']) writeFileSync(join(directory, path), header)
    writeFileSync(
      join(directory, 'environment'),
      `TOKEN=${secret('file')}\nHTTPS_PROXY=http://me:${secret('fileproxy')}@h:1\n`,
    )
    writeFileSync(
      config,
      JSON.stringify(
        {
          'log-opts': { 'splunk-token': secret('splunk'), 'fluentd-PASSWORD': secret('fluentd') },
          'registry-mirrors': [`https://me:${secret('mirror')}@mirror.example`],
          proxies: { 'http-proxy': `http://me:${secret('fileproxy')}@proxy.example:3128` },
          labels: [`license=${secret('label')}`],
        },
        undefined,
        2,
      ),
    )
    const args = [
      ...['--config-file', config, '--config', join(directory, 'config.toml'), '--data-root', images],
      ...[
        '--log-opt',
        `splunk-Token=${secret('logopt')}`,
        '--password',
        secret('word'),
        `--creds=me:${secret('creds')}`,
      ],
      ...['-e', `DB_PASS=${secret('e')}`, `--env=X=${secret('env')}`, '--env', `Y=${secret('envword')}`],
      ...['-u', `me:${secret('u')}`, `-p${secret('p')}`, '-H', `tcp://me:${secret('url')}@127.0.0.1:1`],
      ...[`Authorization: Basic ${secret('basic')}`, 'ghp16C7e42F292c6912E7710c838347Ae178B4a'],
    ]
    engine = await startInUnit(args, {
      HOME: home,
      REGISTRY_AUTH_FILE: join(home, '.config/containers/auth.json'),
      REGISTRY_AUTH: packed,
      PATH: paths,
      HTTPS_PROXY: `http://me:${secret('proxy')}@127.0.0.1:9`,
      CONTAINERD_TOKEN: secret('variable'),
      AWS_SECRET_ACCESS_KEY: secret('aws'),
    })
    writeFileSync(engine.unit, `[Service]\nExecStart=/usr/bin/dockerd --password ${secret('exec')}\n`)
    mkdirSync(`${engine.unit}.d`)
    writeFileSync(
      `${engine.unit}.d/x.conf`,
      `[Service]\nEnvironment="HTTP_PROXY=http://me:${secret('dropin')}@h:1" TOKEN=${secret('dropintoken')}\nEnvironmentFile=${join(directory, 'environment')}\n`,
    )
  })
  after(async () => {
    rmSync(`${engine.unit}.d`, { recursive: true, force: true })
    await engine[Symbol.asyncDispose]()
  })

  const isFree = (text: string, of: string): void => {
    const places = [...text.matchAll(/hunter2(\w*)/g)].map(([, place]) => place)
    assert.deepEqual(places, [], of)
    for (const word of ['ghp16C7e42F', packed]) assert.ok(!text.includes(word), of)
  }

  test('its pages, JSON, reports, bundle and record have none of them', row, async () => {
    const pid = String(engine.pid)
    const [bundle, page, data] = ['b.tar.gz', 'r.html', 'r.json'].map(name => join(directory, name)) as [
      string,
      string,
      string,
    ]
    writeFileSync(bundle, 'what was there before')
    chmodSync(bundle, 0o644)
    const env = { HOME: join(directory, 'home') }
    const doctor = (...args: string[]) => runCommand(program, ['doctor', '--pid', pid, ...args], { env })
    const seen = await Promise.all([
      doctor('-v', '--bundle', bundle),
      doctor('--json', '--report', page),
      doctor('--report', data),
      // What is sent to a registry, and refused there, is nobody's business either.
      doctor('--json', '--image', '127.0.0.1:1/team/app:1'),
      doctor('-v', '--image', 'r.example/team/app:1'),
    ])
    for (const { stdout, stderr } of seen) isFree(stdout + stderr, stdout)
    for (const path of [page, data]) isFree(readFileSync(path, 'utf8'), path)
    const kept = gunzipSync(readFileSync(bundle)).toString()
    isFree(kept, 'bundle')
    assert.ok(kept.includes(`c/proc/${pid}/cmdline`) && kept.includes('--creds=…') && kept.includes('mirror.example'))
    assert.ok(kept.includes(paths), 'a PATH is evidence')
    assert.match(kept, disks, 'what the disks do')
    assert.equal(statSync(bundle).mode & 0o777, 0o600)
    assert.deepEqual(
      readdirSync(directory).filter(name => name.endsWith('.part')),
      [],
    )
    const script = join(directory, 'collect.sh')
    writeFileSync(script, await run(program, ['doctor', '--emit-collector']))
    for (const shell of [['dash'], ['busybox', 'sh']]) {
      const [file = '', ...args] = shell
      const facts = await run(file, [...args, script, pid])
      isFree(facts, shell.join(' '))
      assert.ok(facts.includes(paths), shell.join(' '))
      assert.match(facts, disks, shell.join(' '))
      writeFileSync(join(directory, 'facts'), facts)
      assert.ok(facts.includes(`\n=only ${pid}\n`), shell.join(' '))
      const elsewhere = await runCommand(program, ['doctor', '-v', '--from', join(directory, 'facts')])
      assert.doesNotMatch(elsewhere.stdout, /ENGINE_HIDDEN|PULLS_HIDDEN/)
      assert.match(elsewhere.stdout, new RegExp(`dockerd ${pid}`))
      assert.match(elsewhere.stdout, /SETTING_NOT_LOADED/)
      isFree(elsewhere.stdout, 'record')
    }
  })

  test(
    'a setting that the running engine has not is told on the spot, or that its files did not answer',
    row,
    async () => {
      const look = async () => {
        const { stdout, stderr } = await runCommand(program, ['doctor', '--json', '--pid', String(engine.pid)])
        return (JSON.parse(stdout || assert.fail(stderr)) as { findings: Finding[] }).findings
      }
      let findings = await look()
      for (let tries = 1; tries < 3 && isUnanswered(findings); tries++) findings = await look()
      const told = findings.find(({ code }) => code === 'SETTING_NOT_LOADED')?.evidence ?? []
      const isTold = told.some(line => line.startsWith(`${engine.unit}.d/x.conf sets HTTP_PROXY=http://…@h:1;`))
      assert.ok(isTold || isUnanswered(findings), JSON.stringify(findings))
    },
  )

  test('names that are not ASCII stand everywhere as they are', row, async () => {
    const pid = String(engine.pid)
    const report = join(directory, 'names.html')
    const seen = await Promise.all([
      runCommand(program, ['doctor', '-v', '--pid', pid, '--report', report]),
      runCommand(program, ['doctor', '--json', '--pid', pid]),
      runCommand(program, ['doctor', '-v', '--pid', pid, '--from', join(directory, 'facts')]),
    ])
    for (const one of seen) assert.ok(one.stdout.includes(images), one.stdout)
    const { engines, findings } = JSON.parse(seen[1].stdout)
    assert.equal(engines[0].dataRoot, images)
    assert.ok(
      findings.some(({ code, subject }: Record<string, string>) => code === 'DISK_FINE' && subject?.includes(images)),
    )
    assert.ok(readFileSync(report, 'utf8').includes(images))
  })

  test('in Chinese the evidence is Chinese, too, and codes and facts are the same', row, async () => {
    const args = ['doctor', '--json', '--pid', String(engine.pid), '--from', join(directory, 'facts')]
    const [english, chinese] = await Promise.all(
      ['C.UTF-8', 'zh_CN.UTF-8'].map(async locale => {
        const { stdout, stderr } = await runCommand(program, args, { env: { LC_ALL: locale } })
        return (JSON.parse(stdout || assert.fail(stderr)) as { findings: Finding[] }).findings
      }),
    )
    assert.ok(english !== undefined && chinese !== undefined && english.length > 5)
    const plain = (findings: readonly Finding[]) =>
      findings.map(({ code, subject, facts }) => ({ code, subject, facts }))
    assert.deepEqual(plain(chinese), plain(english))
    for (const { code, evidence } of english)
      assert.doesNotMatch(evidence.join(' ').replaceAll(images, ''), /[\u4e00-\u9fff]/, code)
    // Some are nothing but names and numbers.
    const untold = chinese.filter(({ evidence }) =>
      evidence.some(text => /[a-z]+ [a-z]+ [a-z]+/.test(text) && !/[\u4e00-\u9fff]/.test(text)),
    )
    assert.deepEqual(
      untold.map(({ code, evidence }) => `${code}: ${evidence}`),
      [],
    )
  })

  test('a bundle is read like a record', row, async () => {
    const from = ['--from', join(directory, 'b.tar.gz'), '--pid', String(engine.pid)]
    const { stdout, stderr } = await runCommand(program, ['doctor', '--json', ...from])
    const { engines } = JSON.parse(stdout || assert.fail(stderr)) as { engines: { pid: number }[] }
    assert.deepEqual(
      engines.map(({ pid }) => pid),
      [engine.pid],
    )
  })

  test(
    '--watch tells each finding once, in lines of JSON that no terminal takes for commands, until a signal',
    row,
    async () => {
      const watch = spawn(program, ['doctor', '--watch', '--json', '--pid', String(engine.pid)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let text = ''
      watch.stdout.on('data', (data: Buffer) => {
        text += data
      })
      await waitUntil('it has told something', 60_000, () => text.includes('\n'))
      watch.kill('SIGTERM')
      const [status] = await once(watch, 'exit')
      assert.equal(status, 143)
      const codes = text
        .trimEnd()
        .split('\n')
        .map(line => `${JSON.parse(line).code} ${JSON.parse(line).subject}`)
      assert.ok(codes.length > 0)
      assert.equal(new Set(codes).size, codes.length)
      isFree(text, 'watch')
    },
  )

  test('--watch of who may not look says so: to say nothing would be to say that all is well', row, async () => {
    const nobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups', program, 'doctor', '--watch', '--json']
    const watch = spawn('setpriv', [...nobody, '--pid', String(engine.pid)], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    watch.stdout.on('data', (data: Buffer) => {
      text += data
    })
    try {
      await waitUntil('it is told', 60_000, () => text.includes('"ENGINE_HIDDEN"') && text.includes('"PULLS_HIDDEN"'))
    } finally {
      watch.kill('SIGTERM')
      await once(watch, 'exit')
    }
  })

  test('through an ssh that is anything: its output is judged, and its failure told', row, async () => {
    const ssh = join(directory, 'bin')
    mkdirSync(ssh)
    const env = { PATH: `${ssh}:${process.env['PATH']}` }
    const pretend = (script: string) => writeFileSync(join(ssh, 'ssh'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    const doctor = () =>
      runCommand(program, ['doctor', '--json', '--host', 'ssh://me@node7', '--pid', String(engine.pid)], { env })
    pretend(`exec sh -s ${engine.pid}`)
    const seen = await doctor()
    assert.match(seen.stdout || seen.stderr, /ENGINE_RUNS/)
    isFree(seen.stdout + seen.stderr, 'ssh')
    for (const [script, told] of [
      ['echo no >&2; exit 255', /Cannot look at host node7/],
      ['echo hello', /Cannot look at host node7|Cannot read the facts/],
      ['echo windlass-facts 2; echo f1; exit 1', /Cannot look at host node7|Cannot read the facts|end early/],
    ] as const) {
      pretend(script)
      const { status, stderr } = await doctor()
      assert.notEqual(status, 0, script)
      assert.match(stderr, told)
    }
  })
})

test('what cannot be done is refused before anybody is looked at', async () => {
  const refused = async (args: readonly string[], status: number, told: RegExp) => {
    const seen = await runCommand(program, ['doctor', ...args])
    assert.equal(seen.status, status, seen.stderr)
    assert.match(seen.stderr, told)
    assert.equal(seen.stdout, '')
  }
  await refused(['--pid', '4194304'], 2, /Cannot look at process 4194304: there is no such process/)
  await refused(['--pid', String(process.pid)], 2, /which is no container engine/)
  await refused(['--rescue', '--yes', '--pid', '4194304'], 2, /no such process\nhint: windlass doctor tells which/)
  for (const option of ['--report', '--bundle'])
    await refused(['--watch', option, 'x.html'], 125, new RegExp(`Cannot use option ${option} with --watch`))
  await refused(['--bundle', join(directory, 'no/where.tar.gz')], 125, /Cannot write the bundle .* is no directory/)
  await refused(['--bundle', directory], 125, /it is a directory/)
  await refused(['--from', join(directory, 'nothing')], 2, /there is no such file/)
})

test('on a full disk a file that was named is told as that, and nothing of it is left', row, async () => {
  const place = join(directory, 'full')
  const record = join(directory, 'record')
  mkdirSync(place)
  writeFileSync(record, 'windlass-facts 2\n=arch x86_64\nf1.0\nz\n')
  const full = 'mount -t tmpfs -o size=64k none "$1" && cat /dev/zero >"$1/all"; shift; exec "$@"'
  const seen = async (...command: readonly string[]) =>
    await runCommand('unshare', ['-m', 'sh', '-c', full, 'sh', place, ...command])
  for (const option of ['--bundle', '--report']) {
    const look = 'place=$1; shift; "$@"; status=$?; ls "$place"; exit "$status"'
    const file = join(place, 'x.json')
    const { status, stdout, stderr } = await seen(
      ...['sh', '-c', look, 'sh', place, program, 'doctor', '--from', record, option, file],
    )
    assert.equal(status, 7, stdout + stderr)
    assert.equal(stdout, 'all\n')
    assert.match(stderr, /^windlass: Cannot write the (bundle|report) .*ENOSPC.*\nhint: .*the filesystem of that file/m)
    assert.doesNotMatch(stderr, /--root/)
  }
})

test('where processes are hidden nothing is called well, and it is said who sees them', row, async () => {
  const hidden =
    'mount --make-rprivate / && mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
  const ways: readonly (readonly [told: RegExp, words: readonly string[]])[] = [
    [/process 1, which always runs: it is mounted with hidepid/, ['unshare', '-m', 'sh', '-c', hidden, 'sh']],
    [/namespace of its own \(pid:\[\d+\]\)/, ['unshare', '-pf', '--mount-proc']],
    [
      /no process at all/,
      ['unshare', '-m', 'sh', '-c', 'mount --make-rprivate / && mount -t tmpfs none /proc && exec "$@"', 'sh'],
    ],
  ]
  for (const [told, [file = '', ...args]] of ways) {
    const { status, stdout, stderr } = await runCommand(file, [...args, program, 'doctor', '--json'])
    assert.equal(status, 10, stdout + stderr)
    const { findings } = JSON.parse(stdout) as { findings: readonly Finding[] }
    assert.match(findings.find(({ code }) => code === 'PROCESSES_HIDDEN')?.evidence[0] ?? '', told)
    for (const { code } of findings) assert.ok(!['NO_ENGINE', 'NO_PULL', 'SECURITY_CLEAR'].includes(code), code)
  }
})

test('codes are explained in the language of the locale', async () => {
  const explain = async (locale: string) =>
    await Promise.all(
      ['DECOMPRESSOR_SPINS', 'LOCK_WAIT', 'NETWORK_UNTRIED'].map(code =>
        runCommand(program, ['explain', code], { env: { LC_ALL: locale } }),
      ),
    )
  const [english, chinese] = await Promise.all([explain('C.UTF-8'), explain('zh_CN.UTF-8')])
  for (const [at, { status, stdout }] of english.entries()) {
    assert.equal(status, 0)
    assert.doesNotMatch(stdout, /[\u4e00-\u9fff]/)
    assert.match(chinese[at]?.stdout ?? '', /[\u4e00-\u9fff]/)
  }
})
