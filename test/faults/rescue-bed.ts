/** Engines whose pulls hang, and the layer on which they do: small, or as large as `WINDLASS_LARGE_MB` says. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { rawHeader } from '../tar-builder.ts'
import { run } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { startDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { type Engines, hostEngines, runOf } from '../testbed/newest.ts'
import { mountAsDocker } from '../testbed/peers.ts'
import { openPodman } from '../testbed/podman.ts'
import { SickEngine } from './doctor-bed.ts'
import { type MadeLayer, makeNoise } from './image.ts'

const MiB = 1 << 20
const largeMb = Number(process.env['WINDLASS_LARGE_MB'] ?? 0)
/** All rows are the same, and take minutes each. */
export const isLarge = largeMb > 0
/** A decompressor fails after that many bytes: in a large layer, half-way. */
export const faultAt = isLarge ? (largeMb * MiB) / 2 : 300_000
export const row = { timeout: isLarge ? 900_000 : 120_000 }
/** Until a decompressor has come to where it fails. */
export const stuckMs = isLarge ? 300_000 : 20_000

export interface StuckLayer {
  readonly layer: MadeLayer
  /** SHA-256 of the only file in it, `noise`. */
  readonly sum: string
}

export async function makeStuckLayer(): Promise<StuckLayer> {
  if (isLarge) return await makeLargeLayer(largeMb * MiB)
  const layer = makeNoise('noise', 12 * MiB)
  return {
    layer,
    sum: createHash('sha256')
      .update(layer.tar.subarray(512, 512 + 12 * MiB))
      .digest('hex'),
  }
}

/** Text of random digits, so that half of it goes; the tar is made piece by piece, and of it nothing is kept but sums. */
async function makeLargeLayer(size: number): Promise<StuckLayer> {
  const tarHash = createHash('sha256')
  const fileHash = createHash('sha256')
  const pigz = spawn('pigz', ['-1', '-c'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const blob = pigz.stdout.toArray() as Promise<Buffer[]>
  const put = async (bytes: Buffer) => {
    tarHash.update(bytes)
    if (!pigz.stdin.write(bytes)) await new Promise(resolve => pigz.stdin.once('drain', resolve))
  }
  await put(rawHeader({ name: 'noise', typeflag: '0', mode: 0o644, size, mtime: 1_700_000_000 }))
  const random = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16))
  for (let at = 0; at < size; at += MiB) {
    const piece = Buffer.from(random.update(Buffer.alloc(MiB / 2)).toString('hex'))
    fileHash.update(piece)
    await put(piece)
  }
  await put(Buffer.alloc(1024))
  pigz.stdin.end()
  const diffId = `sha256:${tarHash.digest('hex')}`
  const layer = { tar: Buffer.alloc(0), diffId, blob: Buffer.concat(await blob) }
  return { layer, sum: fileHash.digest('hex') }
}

export interface Patient {
  /** The program that the engine starts. */
  readonly decompressor: 'unpigz' | 'igzip' | 'pigz'
  readonly sick: SickEngine
  readonly hasUntar: boolean
  /** @returns SHA-256 of a file of the unpacked image */
  sumInImage(reference: string, path: string): Promise<string>
  /** Of a docker: it decompresses what is no layer of any image, and nobody knows what it must hash to. */
  startImport?(archive: Buffer): ChildProcess
  /** Of a containerd: a layer is to be unpacked again, of whose content it is noted that it is verified. */
  forgetUnpacked?(diffId: string): Promise<unknown>
}

export interface Bed {
  readonly loop: LoopFilesystem
  readonly daemon: AsyncDisposable
  readonly patient: Patient
}

async function openLoop(): Promise<LoopFilesystem> {
  return await openLoopFilesystem({ sizeBytes: 2 ** 30 + 5 * largeMb * MiB })
}

/** @param directory of the test, on a filesystem that all see */
export async function openDocker(directory: string, engines: Engines = hostEngines): Promise<Bed> {
  const loop = await openLoop()
  const shims = mkdtempSync(join(directory, 'shims-'))
  const docker = await startDocker(join(loop.directory, 'docker'), shims, engines)
  const client = [...engines, 'docker', '-H', `unix://${docker.socket}`]
  const sick = new SickEngine(docker.pid, shims, [...client, 'pull'], [...client, 'rmi', '-f'])
  const sumInImage = async (reference: string, path: string) => {
    const target = mkdtempSync(join(directory, 'mount-'))
    await mountAsDocker(docker, reference, target)
    try {
      return sumOf(await run('sha256sum', [join(target, path)]))
    } finally {
      await run('umount', [target])
    }
  }
  const startImport = (archive: Buffer) => {
    const [file = '', ...args] = [...client, 'import', '-']
    const importing = spawn(file, args, { stdio: ['pipe', 'ignore', 'ignore'] })
    importing.stdin.end(archive)
    return importing
  }
  const hasUntar = engines.length === 0
  return { loop, daemon: docker, patient: { sick, decompressor: 'unpigz', hasUntar, sumInImage, startImport } }
}

/** @param directory of the test, on a filesystem that all see */
export async function openContainerd(directory: string, engines: Engines = hostEngines): Promise<Bed> {
  const loop = await openLoop()
  const shims = mkdtempSync(join(directory, 'shims-'))
  const containerd = await startContainerd(join(loop.directory, 'containerd'), shims, engines)
  const client = [...engines, 'ctr', '-a', containerd.socket, 'images']
  const sick = new SickEngine(containerd.pid, shims, [...client, 'pull', '--plain-http'], [...client, 'rm', '--sync'])
  const sumInImage = async (reference: string, path: string) => {
    const script = `mkdir "$1"; ctr -a "$2" images mount "$3" "$1" >&2; sha256sum "$1/$4"; ctr -a "$2" images unmount --rm "$1" >&2; rmdir "$1"`
    const args = [join(loop.directory, 'mounted'), containerd.socket, reference, path]
    return sumOf(await runOf(engines, ['sh', '-ec', script, 'sh', ...args])) // the mount is seen in the root of the engine alone
  }
  const decompressor = engines.length === 0 ? 'unpigz' : 'igzip'
  const forgetUnpacked = (diffId: string) => containerd.ctr('snapshots', 'rm', diffId)
  return { loop, daemon: containerd, patient: { sick, decompressor, hasUntar: false, sumInImage, forgetUnpacked } }
}

/** podman feeds its decompressor while it downloads, and each command is an engine. @param directory of the test, on a filesystem that all see */
export async function openPodmanBed(directory: string, engines: Engines): Promise<Bed> {
  const loop = await openLoop()
  const shims = mkdtempSync(join(directory, 'shims-'))
  const podman = await openPodman(join(loop.directory, 'podman'), shims, engines)
  const client = [...engines, 'podman']
  const options = { decompressor: 'pigz', env: podman.env }
  const pull = [...client, 'pull', '--tls-verify=false']
  const sick = new SickEngine(undefined, shims, pull, [...client, 'rmi', '-f'], options)
  const sumInImage = () => Promise.reject(new Error('it is not rescued'))
  return { loop, daemon: podman, patient: { sick, decompressor: 'pigz', hasUntar: false, sumInImage } }
}

function sumOf(line: string): string {
  return line.slice(0, 64)
}
