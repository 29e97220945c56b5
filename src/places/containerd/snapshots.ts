import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isWindlassError, WindlassError, wrapError } from '../../errors.ts'
import { type Digest, isDigest } from '../../oci/digest.ts'
import { chainIds } from '../../oci/image-config.ts'
import { FilesystemSync, syncDirectory } from '../../sys/disk.ts'
import { findListener, meansSameTo } from '../../sys/socket-peer.ts'
import { type ContainerdClient, isAlreadyExists } from './client.ts'
import { hold } from './leases.ts'
import { type Mount, methods } from './messages.ts'

/** Removing what was prepared must end, too. */
const removeMs = 30_000
/** The kernel's times for files lag behind the clock by a tick, and the clock may be stepped a little. */
const clockSlackMs = 1000

/** containerd's number for a snapshot that is whole. */
const COMMITTED = 3

/**
 * The layers of one snapshotter with this content, on whatever they stand: clients commit them by their chain ID once they have compared the digest of what was unpacked.
 * @returns chain IDs
 * @throws WindlassError
 */
export async function findLayers(
  client: ContainerdClient,
  snapshotter: string,
  { diffId, signal }: { readonly diffId: Digest; readonly signal: AbortSignal },
): Promise<string[]> {
  const doing = `Cannot list the ${snapshotter} snapshots of ${client.name}`
  const found: string[] = []
  try {
    for await (const { info } of client.list(methods.listSnapshots, { snapshotter }, { signal, doing })) {
      const layers = info.filter(({ name, parent, kind }) => kind === COMMITTED && name === chainIdOn(parent, diffId))
      found.push(...layers.map(({ name }) => name))
    }
  } catch (error) {
    if (!isWindlassError(error, 'FAILED')) throw error // that one is not loaded
  }
  return found
}

/** Clients that give their snapshots names of their own have others than a digest below. */
function chainIdOn(parent: string, diffId: Digest): Digest | undefined {
  if (parent === '') return diffId
  return isDigest(parent) ? chainIds([parent, diffId]).at(-1) : undefined
}

/** At this moment: without a lease it may be gone in the next. @throws WindlassError */
export async function hasSnapshot(
  client: ContainerdClient,
  snapshot: { readonly snapshotter: string; readonly key: string },
  signal: AbortSignal,
): Promise<boolean> {
  const doing = `Cannot look ${snapshot.key} up in ${client.name}`
  return (await client.find(methods.stat, snapshot, { signal, doing })) !== undefined
}

/** The snapshots of one snapshotter, by chain ID: layers as they are unpacked. */
export class Snapshots {
  readonly #client: ContainerdClient
  readonly #snapshotter: string
  readonly #signal: AbortSignal
  /** The directories of a layer and of those below it, nearest first. */
  readonly #directories = new Map<Digest, readonly string[]>()
  /** Whose paths they are; looked up once. */
  #listener: { readonly pid: number | undefined } | undefined

  constructor(client: ContainerdClient, snapshotter: string, signal: AbortSignal) {
    this.#client = client
    this.#snapshotter = snapshotter
    this.#signal = signal
  }

  /** What is there stays as long as the lease. */
  async has(chainId: Digest): Promise<boolean> {
    if (!(await this.#find(chainId))) return false
    await hold(this.#client, { type: `snapshots/${this.#snapshotter}`, id: chainId }, this.#signal)
    return await this.#find(chainId)
  }

  async #find(chainId: Digest): Promise<boolean> {
    return await hasSnapshot(this.#client, this.#name(chainId), this.#signal)
  }

  /**
   * An empty directory for a layer that is to be unpacked by itself, whatever is below it.
   * @throws WindlassError UNSUPPORTED if the snapshotter keeps no plain directories, or not where this process can see them
   */
  async prepare(chainId: Digest, parent: Digest | undefined): Promise<PreparedSnapshot> {
    const doing = `Cannot prepare ${chainId} in ${this.#client.name}`
    if (parent !== undefined && !this.#directories.has(parent)) await this.#readBelow(parent)
    const key = newKey(chainId)
    const since = Date.now()
    const { mounts } = await this.#client.call(
      methods.prepare,
      { ...this.#name(key), parent: '', labels: {} },
      { signal: this.#signal, doing },
    )
    const directory = await this.#onlyDirectory(mounts, doing)
    await this.#checkNew(directory, since, doing)
    return new PreparedSnapshot(this, { chainId, parent, key, directory })
  }

  /** Known once the layer is committed, or was there before. */
  directoriesOf(chainId: Digest): readonly string[] {
    return this.#directories.get(chainId) ?? []
  }

  /** What was unpacked becomes the layer on top of its parent, which is committed. */
  async commit({ chainId, parent, key, directory }: Prepared): Promise<void> {
    if (parent === undefined) {
      const isOurs = await this.#commitKey(chainId, key)
      return isOurs ? void this.#directories.set(chainId, [directory]) : await this.#readBelow(chainId)
    }
    const doing = `Cannot commit ${chainId} in ${this.#client.name}`
    const upperKey = newKey(chainId)
    const context = { signal: this.#signal, doing }
    const since = Date.now()
    const { mounts } = await this.#client.call(
      methods.prepare,
      { ...this.#name(upperKey), parent, labels: {} },
      context,
    )
    const upper = optionOf(mounts[0], 'upperdir')
    if (mounts.length !== 1 || upper === undefined || !existsSync(upper)) throw this.#unsupported(doing)
    await this.#checkSame(upper, doing)
    await this.#checkNew(upper, since, doing)
    try {
      // The empty upper directory gives way to the one that was filled, which has the root's owner, mode and times already.
      await rename(directory, upper)
      await mkdir(directory, { mode: 0o755 })
      await Promise.all([syncDirectory(dirname(upper)), syncDirectory(dirname(directory))])
    } catch (error) {
      throw wrapError(error, doing)
    }
    const isOurs = await this.#commitKey(chainId, upperKey)
    await this.remove(key)
    if (!isOurs) return await this.#readBelow(chainId)
    this.#directories.set(chainId, [upper, ...this.directoriesOf(parent)])
  }

  /** Lets go of what was prepared; whatever cannot be removed goes with the lease. */
  async remove(key: string): Promise<void> {
    const context = { signal: this.#signal, ms: removeMs, doing: `Cannot remove ${key} from ${this.#client.name}` }
    await this.#client.leave(methods.removeSnapshot, this.#name(key), context)
  }

  /** False if another client has made the same layer meanwhile: that one is as good, and ours is removed. */
  async #commitKey(chainId: Digest, key: string): Promise<boolean> {
    const context = { signal: this.#signal, doing: `Cannot commit ${chainId} in ${this.#client.name}` }
    try {
      await this.#client.call(methods.commit, { ...this.#name(key), name: chainId, labels: {} }, context)
      return true
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      await this.remove(key)
      return false
    }
  }

  /** The directories of a layer that somebody else has made, from a view of it. */
  async #readBelow(chainId: Digest): Promise<void> {
    if (!(await this.has(chainId))) return
    const doing = `Cannot view ${chainId} in ${this.#client.name}`
    const key = newKey(chainId)
    const context = { signal: this.#signal, doing }
    const { mounts } = await this.#client.call(
      methods.view,
      { ...this.#name(key), parent: chainId, labels: {} },
      context,
    )
    await this.remove(key)
    const [mount] = mounts
    const lower = optionOf(mount, 'lowerdir')
    if (lower === undefined) return void this.#directories.set(chainId, [await this.#onlyDirectory(mounts, doing)])
    const directories = lower.split(':')
    for (const directory of directories) await this.#checkSame(directory, doing)
    this.#directories.set(chainId, directories)
  }

  async #onlyDirectory(mounts: readonly Mount[], doing: string): Promise<string> {
    const [mount] = mounts
    const isBind = mount?.type === 'bind' || mount?.options.some(option => option === 'bind' || option === 'rbind')
    if (mounts.length !== 1 || mount === undefined || !isBind || !existsSync(mount.source))
      throw this.#unsupported(doing)
    await this.#checkSame(mount.source, doing)
    return mount.source
  }

  /** With mounts of its own (a node in a container), containerd's path may lead here to a layer of another engine. */
  async #checkSame(directory: string, doing: string): Promise<void> {
    this.#listener ??= { pid: findListener(this.#client.socket)?.pid }
    const { pid } = this.#listener
    if (pid === undefined || (await meansSameTo(pid, directory)) !== false) return
    throw this.#elsewhere(`${doing}: ${directory} is another directory here than for its process ${pid}`)
  }

  /** Also where the process that made it is not seen from here, or something passes its socket on. */
  async #checkNew(directory: string, since: number, doing: string): Promise<void> {
    const [{ ctimeMs }, entries] = await Promise.all([stat(directory), readdir(directory)]).catch(error => {
      throw wrapError(error, doing)
    })
    if (entries.length === 0 && ctimeMs >= since - clockSlackMs) return
    const state = entries.length === 0 ? 'older than that' : 'not empty'
    throw this.#elsewhere(`${doing}: ${directory}, which was to be made just now, is ${state} here`)
  }

  #elsewhere(message: string): WindlassError {
    const hint =
      'containerd has other mounts than windlass: run windlass in the same mount namespace, as in the container that containerd runs in'
    return new WindlassError('UNSUPPORTED', message, { hint })
  }

  #unsupported(doing: string): WindlassError {
    const state = `snapshotter ${this.#snapshotter} keeps its layers in no directories of this host`
    return new WindlassError('UNSUPPORTED', `${doing}: ${state}; wanted overlayfs`, {
      hint: 'CONTAINERD_SNAPSHOTTER names another one; containerd must run on this host, in the same mount namespace',
    })
  }

  #name(key: string): { snapshotter: string; key: string } {
    return { snapshotter: this.#snapshotter, key }
  }
}

interface Prepared {
  readonly chainId: Digest
  readonly parent: Digest | undefined
  readonly key: string
  readonly directory: string
}

/** A layer on its way in. Dispose without commit removes it. */
export class PreparedSnapshot implements AsyncDisposable {
  readonly #snapshots: Snapshots
  readonly #prepared: Prepared
  readonly #disk: FilesystemSync
  #done = false

  constructor(snapshots: Snapshots, prepared: Prepared) {
    this.#snapshots = snapshots
    this.#prepared = prepared
    this.#disk = new FilesystemSync(prepared.directory)
  }

  get directory(): string {
    return this.#prepared.directory
  }

  /** Of the layers below that are committed by now, nearest first. */
  get lowerDirectories(): readonly string[] {
    const { parent } = this.#prepared
    return parent === undefined ? [] : this.#snapshots.directoriesOf(parent)
  }

  sync(): Promise<void> {
    return this.#disk.sync()
  }

  async commit(): Promise<void> {
    await this.#snapshots.commit(this.#prepared)
    this.#done = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disk[Symbol.dispose]()
    if (!this.#done) await this.#snapshots.remove(this.#prepared.key)
  }
}

function newKey(chainId: Digest): string {
  return `windlass-${randomBytes(8).toString('hex')} ${chainId}`
}

function optionOf(mount: Mount | undefined, name: string): string | undefined {
  return mount?.options.find(option => option.startsWith(`${name}=`))?.slice(name.length + 1)
}
