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
after(() => rmSync(directory, { recursive: true, force: true }))
const address = '10.99.7.2'
let networks = 0

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

const dockerd = join(directory, 'dockerd')
const codes = (findings: readonly Finding[]) => findings.map(({ code }) => code)

/** Beyond the other side, which drops what it should pass on. */
const nowhere = `
  ip -n "$1" -6 addr add fd77::1/64 dev "wh$3" nodad; ip -n "$2" -6 addr add fd77::2/64 dev "wt$3" nodad
  ip -n "$1" -6 route replace fd78::/64 via fd77::2; ip -n "$2" -6 route replace blackhole fd78::/64
`

/** Two hosts, each the only other one that the other has, servers on one of them, and what is looked at on the other. */
class Network implements AsyncDisposable {
  readonly #number = `${process.pid}-${networks++}`
  readonly #here = `wl-here-${this.#number}`
  readonly #there = `wl-there-${this.#number}`
  readonly #processes: ChildProcess[] = []
  /** What runs a program on this side. */
  readonly enter = [`--net=/run/netns/${this.#here}`]

  static async open(): Promise<Network> {
    await using stack = new AsyncDisposableStack()
    const opened = stack.use(new Network())
    await opened.shape(network)
    for (const [bytes, port] of [
      ['10', '8000'],
      ['6000', '8001'],
    ] as const)
      opened.#start([`--net=/run/netns/${opened.#there}`, process.execPath, '-e', server, bytes, port])
    const answers = async (port: number) =>
      (await runCommand('nsenter', [...opened.enter, 'curl', '-sf', `http://${address}:${port}/v2/`])).status === 0
    await waitUntil('the servers answer', 20_000, async () => (await answers(8000)) && (await answers(8001)))
    stack.move()
    return opened
  }

  async shape(script: string, ...args: string[]): Promise<void> {
    await runScript(script, [this.#here, this.#there, this.#number, ...args])
  }

  async useMtu(own: number, other: number): Promise<void> {
    await this.shape(setMtu, String(own), String(other))
  }

  /** A process of that name, with these arguments: all that the doctor needs to know of an engine. @returns its number */
  startEngine(wrapper: readonly string[] = []): number {
    const script = ['-c', 'read -t 600 <> <(:); :', 'dockerd', '--insecure-registry', '10.99.7.0/24']
    return this.#start([...this.enter, ...wrapper, dockerd, ...script])
  }

  #start(args: readonly string[]): number {
    const child = spawn('nsenter', args, { stdio: 'ignore' })
    this.#processes.push(child)
    return child.pid ?? 0
  }

  /** What the doctor finds of the way to the server at that port. */
  async visit(port: number): Promise<readonly Finding[]> {
    const pid = this.startEngine()
    await waitUntil('it is there', 20_000, () => isEngine(pid))
    const args = ['doctor', '--json', '--pid', String(pid), '--registry', `${address}:${port}`]
    const { stdout, stderr } = await runCommand('nsenter', [...this.enter, windlassProgram, ...args])
    assert.notEqual(stdout, '', stderr)
    return (JSON.parse(stdout) as { findings: readonly (Finding & { area: string })[] }).findings.filter(
      ({ area }) => area === 'network',
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#processes) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    await runCommand('ip', ['netns', 'del', this.#here])
    await runCommand('ip', ['netns', 'del', this.#there])
  }
}

function isEngine(pid: number): boolean {
  return readIfThere(`/proc/${pid}/comm`) === 'dockerd\n'
}

describe('a path that drops large packets', { concurrency: true }, () => {
  before(() => cpSync('/bin/bash', dockerd))

  test('on the way there is named when a long request does not pass, and a short one does', row, async () => {
    await using network = await Network.open()
    await network.useMtu(1500, 1000)
    const findings = await network.visit(8000)
    assert.deepEqual(codes(findings), ['MTU_BLACK_HOLE', 'REGISTRY_ANSWERS'], JSON.stringify(findings))
    assert.match(findings[0]?.evidence[0] ?? '', /came through in segments of 536 bytes/)
  })

  test('on the way back is named when the answer does not come', row, async () => {
    await using network = await Network.open()
    await network.useMtu(1000, 1500)
    const findings = await network.visit(8001)
    assert.deepEqual(codes(findings), ['MTU_BLACK_HOLE'], JSON.stringify(findings))
  })

  test(
    'a registry whose IPv6 address swallows all, while the other answers, is named; one that refuses is not',
    row,
    async () => {
      await using network = await Network.open()
      await network.useMtu(1500, 1500)
      await network.shape(nowhere)
      const hosts = join(directory, 'hosts')
      writeFileSync(hosts, '')
      // The name is in a file of its own, which it shares with who looks at it.
      const script = 'mount --bind "$0" /etc/hosts && exec "$@"'
      const named = network.startEngine(['unshare', '-m', 'sh', '-c', script, hosts])
      await waitUntil('it is there', 20_000, () => isEngine(named))
      const tryNamed = async (six: string) => {
        writeFileSync(hosts, `${address} registry.test\n${six} registry.test\n`)
        const places = [...network.enter, `--mount=/proc/${named}/ns/mnt`]
        const args = ['doctor', '--json', '--pid', String(named), '--registry', 'registry.test:8000']
        const { stdout, stderr } = await runCommand('nsenter', [...places, windlassProgram, ...args])
        return codes((JSON.parse(stdout || assert.fail(stderr)) as { findings: Finding[] }).findings)
      }
      assert.ok((await tryNamed('fd78::5')).includes('IPV6_BLACK_HOLE'))
      assert.ok(!(await tryNamed('fd77::2')).includes('IPV6_BLACK_HOLE'))
    },
  )

  test('is not named where large packets pass', row, async () => {
    await using network = await Network.open()
    await network.useMtu(1500, 1500)
    assert.deepEqual(codes(await network.visit(8001)), ['REGISTRY_ANSWERS'])
  })
})
