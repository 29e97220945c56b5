import { accessSync, constants, existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isWindlassError, WindlassError, wrapError } from '../../errors.ts'
import { withIdle } from '../../flow/idle.ts'
import { type Digest, digestHex } from '../../oci/digest.ts'
import { asObject, parseJson, readString, readStrings } from '../../oci/json.ts'
import { openCommandStream } from '../../sys/command-stream.ts'
import { runWatched, type WatchedCommand } from '../../sys/watched-command.ts'
import type { Document } from '../place.ts'

/** It may have to wait for another podman. */
const podmanIdleMs = 120_000

export interface PodmanOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signal: AbortSignal
  /** How long podman may do nothing at all; it may have to wait for another podman. Two minutes if absent. */
  readonly idleMs?: number
}

export interface PodmanImage {
  readonly id: string
  readonly digest: string
  readonly names: readonly string[]
  readonly repoDigests: readonly string[]
}

/** What podman starts for its storage, as root or not. Decompressors (pigz, zstd) are not among it. */
const helpers = ['newuidmap', 'newgidmap', 'fuse-overlayfs', 'fusermount3', 'fusermount', 'crun', 'runc', 'conmon']

/**
 * podman's own commands, on a PATH without any decompressor: podman looks for one there, and decompresses by itself if it finds none.
 */
export class Podman implements AsyncDisposable {
  readonly version: string
  readonly #program: string
  readonly #directory: string
  readonly #options: PodmanOptions

  private constructor(program: string, directory: string, options: PodmanOptions, version: string) {
    this.#program = program
    this.#directory = directory
    this.#options = options
    this.version = version
  }

  /** @throws WindlassError ENGINE_UNREACHABLE if there is no podman, UNSUPPORTED for one on another host */
  static async open(options: PodmanOptions): Promise<Podman> {
    const { env } = options
    const doing = 'Cannot use podman'
    if (env['CONTAINER_HOST'] || env['CONTAINER_CONNECTION'])
      throw new WindlassError(
        'UNSUPPORTED',
        `${doing}: CONTAINER_HOST names a podman elsewhere; wanted the one of this host`,
      )
    const path = (env['PATH'] ?? '').split(':').filter(directory => directory.startsWith('/'))
    const program = findProgram('podman', path)
    if (program === undefined)
      throw new WindlassError('ENGINE_UNREACHABLE', `${doing}: there is none on the PATH`, {
        hint: 'install podman, or put it on the PATH',
      })
    const directory = await mkdtemp(join(tmpdir(), 'windlass-podman-'))
    try {
      await linkHelpers(join(directory, 'bin'), path)
      const probe = new Podman(program, directory, options, '')
      const version = (await probe.#run(doing, ['--version'])).trim().split(' ').at(-1) ?? ''
      return new Podman(program, directory, options, version)
    } catch (error) {
      await rm(directory, { recursive: true, force: true })
      throw error
    }
  }

  /** An image by ID or name, undefined if there is none. @throws WindlassError */
  async find(name: string): Promise<PodmanImage | undefined> {
    const doing = `Cannot look ${name} up in podman`
    try {
      const text = await this.#run(doing, ['image', 'inspect', name])
      const list = parseJson(text, "podman's answer")
      const image = asObject(Array.isArray(list) ? list[0] : list, "podman's answer")
      return {
        id: readString(image, 'Id', 'image') ?? '',
        digest: readString(image, 'Digest', 'image') ?? '',
        names: readStrings(image, 'RepoTags', 'image') ?? [],
        repoDigests: readStrings(image, 'RepoDigests', 'image') ?? [],
      }
    } catch (error) {
      if (isWindlassError(error, 'FAILED') && /no such (image|object)|not known|failed to find/i.test(error.message))
        return undefined
      throw error
    }
  }

  /**
   * Takes an image in from files: documents as they are, so that digests stay, and blobs by symlinks.
   * @param documents from the index, if there is one, to the manifest
   * @param blobs the config and the layers: digest and file
   * @returns the image's ID
   */
  async take(
    documents: readonly Document[],
    blobs: ReadonlyMap<Digest, string>,
    platform: string | undefined,
  ): Promise<string> {
    const directory = join(this.#directory, 'image')
    await writeDirectory(directory, documents, blobs)
    const choice = platform === undefined ? [] : ['--platform', platform]
    const id = await this.#run('Cannot deliver into podman', ['pull', '--quiet', ...choice, `dir:${directory}`])
    return id.trim().split('\n').at(-1) ?? ''
  }

  /**
   * Pulls an image by its tag from a registry on plain http, as it stands there.
   * @param options `auth`: user and password, as containers-auth.json(5) has them; they come to podman in a file of this user's
   * @returns the image's ID
   */
  async pullFrom(
    name: string,
    platform: string | undefined,
    { auth, ...options }: Pick<WatchedCommand, 'signal' | 'isExcused'> & { readonly auth: string },
  ): Promise<string> {
    const choice = platform === undefined ? [] : ['--platform', platform]
    const doing = 'Cannot deliver into podman'
    const authFile = join(this.#directory, 'auth.json')
    const auths = { [name.split('/', 1)[0] ?? '']: { auth } }
    await writeFile(authFile, JSON.stringify({ auths }), { mode: 0o600 }).catch(error => {
      throw wrapError(error, doing)
    })
    const args = ['pull', '--quiet', '--tls-verify=false', '--authfile', authFile, ...choice, `docker://${name}`]
    const id = await this.#run(doing, args, options)
    return id.trim().split('\n').at(-1) ?? ''
  }

  /** Takes a name from an image. @throws WindlassError */
  async untag(id: string, name: string): Promise<void> {
    await this.#run(`Cannot remove the name ${name} from podman`, ['untag', id, name])
  }

  /** A docker archive of an image, with plain layers, as podman writes it. @throws WindlassError FAILED with podman's words, STALLED */
  async *save(name: string): AsyncGenerator<Uint8Array, void, void> {
    const doing = `Cannot save ${name} from podman`
    const { signal, idleMs = podmanIdleMs } = this.#options
    const args = ['save', '--quiet', '--format', 'docker-archive', name]
    const output = openCommandStream(this.#program, args, this.#environment)
    output.end()
    const cancel = () => output.destroy()
    signal.addEventListener('abort', cancel, { once: true })
    const silence = (ms: number) => new WindlassError('STALLED', `${doing}: it gives nothing for ${ms / 1000} s`)
    try {
      yield* withIdle(output, idleMs, silence)
    } catch (error) {
      throw signal.aborted ? signal.reason : wrapError(error, doing)
    } finally {
      signal.removeEventListener('abort', cancel)
      output.destroy()
    }
  }

  async tag(id: string, name: string): Promise<void> {
    await this.#run(`Cannot tag ${id} as ${name} in podman`, ['tag', id, name])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #run(
    doing: string,
    args: readonly string[],
    options: Partial<Pick<WatchedCommand, 'signal' | 'isExcused'>> = {},
  ): Promise<string> {
    const { signal, idleMs = podmanIdleMs } = this.#options
    return await runWatched({ program: this.#program, args, env: this.#environment, idleMs, signal, doing, ...options })
  }

  get #environment(): Readonly<Record<string, string | undefined>> {
    // It needs no credentials, and would fail for a configuration that it cannot read.
    const own = { PATH: join(this.#directory, 'bin'), DOCKER_CONFIG: undefined, REGISTRY_AUTH_FILE: undefined }
    return { ...this.#options.env, ...own }
  }
}

/** containers-transports(5), `dir:`: the documents by name, the blobs by the hex of their digests. */
async function writeDirectory(
  directory: string,
  documents: readonly Document[],
  blobs: ReadonlyMap<Digest, string>,
): Promise<void> {
  try {
    await mkdir(directory)
    await writeFile(join(directory, 'version'), 'Directory Transport Version: 1.1\n')
    for (const [at, { descriptor, bytes }] of documents.entries()) {
      const name = at === 0 ? 'manifest.json' : `${digestHex(descriptor.digest)}.manifest.json`
      await writeFile(join(directory, name), bytes)
    }
    for (const [digest, file] of blobs) await symlink(file, join(directory, digestHex(digest)))
  } catch (error) {
    throw wrapError(error, `Cannot prepare ${directory} for podman`)
  }
}

async function linkHelpers(directory: string, path: readonly string[]): Promise<void> {
  await mkdir(directory)
  for (const name of helpers) {
    const file = findProgram(name, path)
    if (file !== undefined) await symlink(file, join(directory, name))
  }
}

function findProgram(name: string, path: readonly string[]): string | undefined {
  return path.map(directory => join(directory, name)).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return existsSync(file)
  } catch {
    return false
  }
}
