import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AppliedLayer, UnpackMode } from '../src/layer/apply.ts'
import { openUnpack } from '../src/layer/unpack.ts'
import type { TarLimits } from '../src/tar/entry.ts'
import { buildTar, type RawEntry } from './tar-builder.ts'

/** A directory of a test's own, removed when it is disposed. */
export class TestDirectory implements Disposable {
  readonly path: string

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), 'windlass-layer-'))
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

export interface UnpackTarOptions {
  readonly mode?: UnpackMode
  readonly limits?: TarLimits
  readonly chunkSize?: number
  readonly signal?: AbortSignal
}

/** Unpacks one layer, given as entries or as the bytes of a tar, with the real thread. Needs root. */
export async function unpackTar(
  directory: string,
  layer: readonly (RawEntry | Uint8Array)[] | Uint8Array,
  options: UnpackTarOptions = {},
): Promise<AppliedLayer> {
  const bytes = layer instanceof Uint8Array ? layer : buildTar(layer)
  const { mode = 'overlay', chunkSize = 256 * 1024, signal = new AbortController().signal, limits } = options
  await using unpack = await openUnpack({ directory, mode, signal, ...(limits === undefined ? {} : { limits }) })
  for (let at = 0; at < bytes.length; at += chunkSize) await unpack.write(bytes.subarray(at, at + chunkSize))
  return await unpack.end()
}
