import { constants } from 'node:fs'
import { lstat, mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decompress } from '../codec/decompress.ts'
import { wrapError } from '../errors.ts'
import { readAhead } from '../flow/read-ahead.ts'
import { verified } from '../flow/verify.ts'
import type { AppliedLayer } from '../layer/apply.ts'
import { listLosses } from '../layer/ordinary.ts'
import { openUnpack, type UnpackOptions, UnpackThreads } from '../layer/unpack.ts'
import { type ImageConfig, parseImageConfig } from '../oci/image-config.ts'
import { runtimeConfig } from '../oci/runtime-spec.ts'
import { parseUserFiles, type UserLookup } from '../oci/user.ts'
import type { Store } from '../places/store/store.ts'
import type { ImageRecord, LayerRecord } from '../places/store/types.ts'
import { type IdMaps, readIdMaps } from '../sys/user-namespace.ts'
import { checkRoot } from './privilege.ts'
import { TargetDirectory } from './target-directory.ts'

export interface UnpackImageOptions {
  /** Make an OCI runtime bundle: `config.json` and `rootfs/`. */
  readonly bundle?: boolean
  /** The bundle is for the user outside of this process's user namespace. */
  readonly forUser?: boolean
  readonly signal: AbortSignal
  /** Told what could not be made as the image has it. */
  readonly onWarning?: (message: string) => void
}

/** A passwd or group file of an image: the largest seen have some kilobytes. */
const userFileSizeMax = 1024 * 1024

/**
 * Unpacks an image of the store into one flat tree, all layers over each other, whiteouts carried out. It appears when it is complete, verified and
 * on the disk; on failure nothing of it is left. A directory that exists stays the same one, and gets owner, mode, times and extended attributes
 * of the image's root; a bundle's keeps its own.
 * @param directory absolute; must not exist, or be empty but for `lost+found`
 * @throws WindlassError FAILED if the directory is not empty; NOT_FOUND if a blob is gone; DIGEST_MISMATCH, NO_SPACE, PERMISSION (not root), CANCELLED
 */
export async function unpackImage(
  store: Store,
  image: ImageRecord,
  directory: string,
  options: UnpackImageOptions,
): Promise<void> {
  const doing = `Cannot unpack into ${directory}`
  checkRoot(doing)
  await using session = await store.openSession()
  for (const { chainId, blobDigest } of image.layers) {
    session.findLayer(chainId)
    session.findBlob(blobDigest)
  }
  const target = await TargetDirectory.open(directory, doing).catch(error => Promise.reject(wrapError(error, doing)))
  try {
    await build(store, image, target.building, options)
    await target.commit(!options.bundle)
  } catch (error) {
    await target.discard()
    throw wrapError(error, doing)
  }
}

async function build(
  store: Store,
  image: ImageRecord,
  building: string,
  { bundle, forUser, signal, onWarning = () => {} }: UnpackImageOptions,
): Promise<void> {
  const root = bundle ? join(building, 'rootfs') : building
  if (bundle) await mkdir(root, { mode: 0o755 })
  await using threads = new UnpackThreads()
  for (const layer of image.layers) {
    const losses = listLosses(await applyLayer(store, layer, { directory: root, threads, signal }))
    for (const loss of losses) onWarning(`Left out of layer ${layer.blobDigest}: ${loss}`)
  }
  if (!bundle) return
  const config = parseImageConfig(await store.readBlob(image.config.digest))
  await writeBundleConfig(config, { bundle: building, root, idMaps: forUser ? readIdMaps() : undefined })
}

async function applyLayer(
  store: Store,
  layer: LayerRecord,
  options: Pick<UnpackOptions, 'directory' | 'threads' | 'signal'>,
): Promise<AppliedLayer> {
  const content = decompress(store.openBlobFile(layer.blobDigest), { signal: options.signal, recycle: true })
  const bytes = verified(content, { digest: layer.diffId, subject: `content of layer ${layer.blobDigest}` })
  await using unpack = await openUnpack({ ...options, mode: 'flat' })
  for await (const chunk of readAhead(bytes)) await unpack.write(chunk)
  return await unpack.end()
}

async function writeBundleConfig(
  config: ImageConfig,
  { bundle, root, idMaps }: { bundle: string; root: string; idMaps: IdMaps | undefined },
): Promise<void> {
  const spec = runtimeConfig(config, { rootPath: 'rootfs', users: await readUsers(root), idMaps })
  await writeFile(join(bundle, 'config.json'), `${JSON.stringify(spec, null, 2)}\n`)
}

async function readUsers(root: string): Promise<UserLookup> {
  const [passwd, group] = await Promise.all([readUserFile(root, 'passwd'), readUserFile(root, 'group')])
  return parseUserFiles({ passwd, group })
}

/**
 * A file of the image's /etc, only if it and /etc are what they seem: no symlink out of the image, no fifo that blocks, no endless device. A device
 * is not even opened: with some, a watchdog's for one, that alone has consequences.
 */
async function readUserFile(root: string, name: string): Promise<string> {
  try {
    if (!(await lstat(join(root, 'etc'))).isDirectory() || !(await lstat(join(root, 'etc', name))).isFile()) return ''
    await using file = await open(
      join(root, 'etc', name),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    )
    const stat = await file.stat()
    if (!stat.isFile() || stat.size > userFileSizeMax) return ''
    return await file.readFile('utf8')
  } catch {
    return ''
  }
}
