/** What only a network of one's own can show: a path that drops large packets and does not say so. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Finding } from '../../src/doctor/finding.ts'
import { readIfThere } from '../read-if-there.ts'
import { runCommand, runScript, waitUntil } from '../testbed/command.ts'
import { windlassProgram } from '../testbed/windlass.ts'

const row = { timeout: 120_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-network-'))
const [here, there] = [`wl-here-${process.pid}`, `wl-there-${process.pid}`]
const processes: ChildProcess[] = []
const address = '10.99.7.2'

/** Both sides are told that 1500 bytes pass; what is larger than the MTU of the side that receives is dropped by its end of the pair. */
const network = `
  ip netns add "$1"; ip netns add "$2"
  ip link add "wh$3" netns "$1" type veth peer name "wt$3" netns "$2"
  ip -n "$1" addr add 10.99.7.1/24 dev "wh$3"; ip -n "$2" addr add 10.99.7.2/24 dev "wt$3"
  ip -n "$1" link set lo up; ip -n "$2" link set lo up
  ip -n "$1" link set "wh$3" up mtu 1500 gso_max_segs 1; ip -n "$2" link set "wt$3" up mtu 1500 gso_max_segs 1
`
const setMtu = `
  ip -n "$1" link set "wh$3" mtu "$4"; ip -n "$2" link set "wt$3" mtu "$5"
  ip -n "$1" route replace 10.99.7.0/24 dev "wh$3" advmss 1460 src 10.99.7.1
  ip -n "$2" route replace 10.99.7.0/24 dev "wt$3" advmss 1460 src 10.99.7.2
`

/** Answers at once, and with a long header: several full segments. */
const server = `
  const { createServer } = require('node:http')
  createServer((_, response) => response.writeHead(200, { 'x-long': '-'.repeat(Number(process.argv[1])) }).end('{}')).listen(Number(process.argv[2]))
`

/** A process of that name in that network, with these arguments: all that the doctor needs to know of an engine. */
function startEngine(wrapper: readonly string[] = []): number {
  const program = join(directory, 'dockerd')
  cpSync('/bin/bash', program)
  const script = ['-c', 'read -t 600 <> <(:); :', 'dockerd', '--insecure-registry', '10.99.7.0/24']
  const child = spawn('nsenter', [`--net=/run/netns/${here}`, ...wrapper, program, ...script], { stdio: 'ignore' })
  processes.push(child)
  return child.pid ?? 0
}

async function visit(args: readonly string[]): Promise<readonly Finding[]> {
  const command = [`--net=/run/netns/${here}`, windlassProgram, 'doctor', '--json', ...args]
  const { stdout, stderr } = await runCommand('nsenter', command)
  assert.notEqual(stdout, '', stderr)
  return (JSON.parse(stdout) as { findings: readonly (Finding & { area: string })[] }).findings.filter(
    ({ area }) => area === 'network',
  )
}

const codes = (findings: readonly Finding[]) => findings.map(({ code }) => code)

/** Beyond the other side, which drops what it should pass on. */
const nowhere = `
  ip -n "$1" -6 addr add fd77::1/64 dev "wh$3" nodad; ip -n "$2" -6 addr add fd77::2/64 dev "wt$3" nodad
  ip -n "$1" -6 route replace fd78::/64 via fd77::2; ip -n "$2" -6 route replace blackhole fd78::/64
`

describe('a path that drops large packets', { concurrency: 1 }, () => {
  let engine = 0
  before(async () => {
    await runScript(network, [here, there, String(process.pid)])
    for (const [bytes, port] of [
      ['10', '8000'],
      ['6000', '8001'],
    ] as const)
      processes.push(
        spawn('nsenter', [`--net=/run/netns/${there}`, process.execPath, '-e', server, bytes, port], {
          stdio: 'ignore',
        }),
      )
    engine = startEngine()
    const answers = async (port: number) =>
      (await runCommand('nsenter', [`--net=/run/netns/${here}`, 'curl', '-sf', `http://${address}:${port}/v2/`]))
        .status === 0
    await waitUntil('the servers answer', 20_000, async () => (await answers(8000)) && (await answers(8001)))
  })
  after(async () => {
    for (const child of processes) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    await runCommand('ip', ['netns', 'del', here])
    await runCommand('ip', ['netns', 'del', there])
    rmSync(directory, { recursive: true, force: true })
  })
  const useMtu = (own: number, other: number) =>
    runScript(setMtu, [here, there, String(process.pid), String(own), String(other)])
  const tried = (port: number) => ['--pid', String(engine), '--registry', `${address}:${port}`]

  test('on the way there is named when a long request does not pass, and a short one does', row, async () => {
    await useMtu(1500, 1000)
    const findings = await visit(tried(8000))
    assert.deepEqual(codes(findings), ['MTU_BLACK_HOLE', 'REGISTRY_ANSWERS'], JSON.stringify(findings))
    assert.match(findings[0]?.evidence[0] ?? '', /came through in segments of 536 bytes/)
  })

  test('on the way back is named when the answer does not come', row, async () => {
    await useMtu(1000, 1500)
    const findings = await visit(tried(8001))
    assert.deepEqual(codes(findings), ['MTU_BLACK_HOLE'], JSON.stringify(findings))
  })

  test(
    'a registry whose IPv6 address swallows all, while the other answers, is named; one that refuses is not',
    row,
    async () => {
      await useMtu(1500, 1500)
      await runScript(nowhere, [here, there, String(process.pid)])
      const hosts = join(directory, 'hosts')
      writeFileSync(hosts, '')
      // The name is in a file of its own, which it shares with who looks at it.
      const script = 'mount --bind "$0" /etc/hosts && exec "$@"'
      const named = startEngine(['unshare', '-m', 'sh', '-c', script, hosts])
      await waitUntil('it is there', 20_000, () => readIfThere(`/proc/${named}/comm`) === 'dockerd\n')
      const tryNamed = async (six: string) => {
        writeFileSync(hosts, `${address} registry.test\n${six} registry.test\n`)
        const places = [`--net=/run/netns/${here}`, `--mount=/proc/${named}/ns/mnt`]
        const args = ['doctor', '--json', '--pid', String(named), '--registry', 'registry.test:8000']
        const { stdout, stderr } = await runCommand('nsenter', [...places, windlassProgram, ...args])
        return codes((JSON.parse(stdout || assert.fail(stderr)) as { findings: Finding[] }).findings)
      }
      assert.ok((await tryNamed('fd78::5')).includes('IPV6_BLACK_HOLE'))
      assert.ok(!(await tryNamed('fd77::2')).includes('IPV6_BLACK_HOLE'))
    },
  )

  test('is not named where large packets pass', row, async () => {
    await useMtu(1500, 1500)
    assert.deepEqual(codes(await visit(tried(8001))), ['REGISTRY_ANSWERS'])
  })
})
