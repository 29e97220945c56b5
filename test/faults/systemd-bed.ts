/** An engine that a systemd of the test's own has started, whose decompressor is broken, and the doctor beside it. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { plantBroken } from '../broken-decompressors/plant.ts'
import { runCommand, waitUntil } from '../testbed/command.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { bootSystemd, type TestSystemd } from '../testbed/systemd.ts'
import { program } from './doctor-bed.ts'
import { makeNoise, type ServedImage, serveImage } from './image.ts'

interface UnitOfEngine {
  /** Without `.service`. */
  readonly unit: string
  /** Its lines, but for what all have. @param places where it may be, and its data */
  readonly lines: (places: { readonly directory: string; readonly dataRoot: string }) => readonly string[]
  /** A client of it. */
  readonly client: (directory: string) => readonly string[]
  /** What is added to that: a question that it answers as soon as it is ready, a pull, a removal. */
  readonly version: readonly string[]
  readonly pull: readonly string[]
  readonly remove: readonly string[]
}

export class SystemdBed implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'windlass-systemd-'))
  readonly units = join(this.directory, 'units')
  /** Of windlass. */
  readonly root = join(this.directory, 'root')
  /** On the engine's PATH before the decompressors of the host: an empty directory, and one with what is broken. */
  readonly early = join(this.directory, 'early')
  readonly late = join(this.directory, 'late')
  systemd!: TestSystemd
  #image!: ServedImage
  #loop!: LoopFilesystem
  readonly #engine: UnitOfEngine
  readonly #client: readonly string[]

  constructor(engine: UnitOfEngine) {
    this.#engine = engine
    this.#client = engine.client(this.directory)
  }

  /** @param decompressor that the engine runs */
  async open(decompressor: string): Promise<void> {
    this.#image = await serveImage([makeNoise('noise', 4 << 20)])
    this.#loop = await openLoopFilesystem({ sizeBytes: 2 ** 29 })
    for (const path of [this.units, this.early, this.late]) mkdirSync(path)
    await plantBroken(this.late, 'sleep', decompressor)
    const { unit, lines } = this.#engine
    const search = `Environment=PATH=${this.early}:${this.late}:/usr/sbin:/usr/bin:/sbin:/bin`
    const own = lines({ directory: this.directory, dataRoot: join(this.#loop.directory, unit) })
    const text = ['[Unit]', 'DefaultDependencies=no', '[Service]', search, 'TimeoutStopSec=10', ...own, '']
    writeFileSync(join(this.units, `${unit}.service`), text.join('\n'))
    await this.boot()
  }

  async boot(): Promise<void> {
    this.systemd = await bootSystemd(this.directory, `windlass-test-${process.pid}`)
    await this.systemd.systemctl('start', this.#service)
    await this.isReady()
  }

  async restart(): Promise<void> {
    await this.systemd.systemctl('restart', this.#service)
    await this.isReady()
  }

  async isReady(): Promise<void> {
    const answers = async () => (await this.ask(...this.#engine.version)).status === 0
    await waitUntil(`${this.#engine.unit} is ready`, 30_000, answers)
  }

  /** Beside systemd, as its processes see the host. */
  async inside(command: readonly string[]) {
    const [file = '', ...args] = [...this.systemd.enter, ...command]
    return await runCommand(file, args, { timeoutMs: 60_000 })
  }

  /** By the client of the engine. */
  async ask(...args: readonly string[]) {
    return await this.inside([...this.#client, ...args])
  }

  async doctor(...args: string[]) {
    const { status, stdout, stderr } = await this.inside([program, 'doctor', '--json', '--root', this.root, ...args])
    return { status, told: stdout === '' ? undefined : JSON.parse(stdout), stderr }
  }

  /** As systemd's processes number it. */
  async pidOf(unit = this.#engine.unit): Promise<number> {
    return Number(await this.systemd.systemctl('show', '--value', '-p', 'MainPID', `${unit}.service`))
  }

  startPull(): ChildProcess {
    const pull = [...this.#client, ...this.#engine.pull, this.#image.reference]
    const [file = '', ...args] = [...this.systemd.enter, ...pull]
    return spawn(file, args, { stdio: 'ignore' })
  }

  async exitOf(client: ChildProcess): Promise<number | null> {
    if (client.exitCode === null && client.signalCode === null) await once(client, 'exit')
    return client.exitCode
  }

  /** What was pulled. */
  async remove(): Promise<void> {
    await this.ask(...this.#engine.remove, this.#image.reference)
  }

  /** The engine's own pull comes to its end; what it has pulled is removed. */
  async pullsWell(): Promise<void> {
    await this.isReady()
    const { status, stderr } = await this.ask(...this.#engine.pull, this.#image.reference)
    assert.equal(status, 0, stderr)
    await this.remove()
  }

  /** @returns its number, as systemd's processes have it */
  async decompressorRuns(): Promise<number> {
    let pid = 0
    await waitUntil('the broken decompressor runs', 60_000, async () => {
      pid = Number((await this.inside(['pgrep', '-n', '-f', 'broken-decompressors/broken.ts'])).stdout)
      return pid > 0
    })
    return pid
  }

  /** The engine's own pull starts the broken decompressor. */
  async hangs(): Promise<void> {
    await this.isReady()
    const client = this.startPull()
    await this.decompressorRuns()
    assert.equal(client.exitCode, null)
    client.kill('SIGKILL')
    await this.systemd.systemctl('restart', this.#service) // a pull that hangs stays when its client goes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.systemd?.[Symbol.asyncDispose]()
    await this.#loop?.[Symbol.asyncDispose]()
    await this.#image?.[Symbol.asyncDispose]()
    rmSync(this.directory, { recursive: true, force: true })
  }

  get #service(): string {
    return `${this.#engine.unit}.service`
  }
}
