import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AppliedLayer, UnpackMode } from '../../src/layer/apply.ts'
import type { RawEntry } from '../tar-builder.ts'
import { assertSameTree, readTree, type Tree } from '../tree.ts'
import { TestDirectory, unpackTar } from '../unpack-tar.ts'

/** A root to unpack evil layers into, beside things that they must not touch. */
export class Arena extends TestDirectory {
  readonly root: string
  /** Absolute; holds `file`, `dir/file`. Also what `../outside` leads to from the root. */
  readonly outside: string
  readonly #before: Tree

  constructor() {
    super()
    this.root = join(this.path, 'root')
    this.outside = join(this.path, 'outside')
    mkdirSync(this.root)
    mkdirSync(join(this.outside, 'dir'), { recursive: true })
    for (const name of ['file', 'dir/file']) writeFileSync(join(this.outside, name), 'precious', { mode: 0o600 })
    this.#before = readTree(this.outside)
  }

  /** Unpacks layers over each other. However that ends, what is outside must be as it was. */
  async unpack(mode: UnpackMode, ...layers: readonly (readonly (RawEntry | Uint8Array)[])[]): Promise<AppliedLayer[]> {
    const applied: AppliedLayer[] = []
    try {
      for (const layer of layers) applied.push(await unpackTar(this.root, layer, { mode }))
    } finally {
      assertSameTree(readTree(this.outside), this.#before)
    }
    return applied
  }

  /** What is in the root, without the root itself. */
  inside(): string[] {
    return [...readTree(this.root).keys()].slice(1)
  }
}

export const modes: readonly UnpackMode[] = ['overlay', 'flat']

export const file = (name: string, data = 'evil', more: RawEntry = {}): RawEntry => ({ name, data, ...more })
export const dir = (name: string, more: RawEntry = {}): RawEntry => ({ name, typeflag: '5', mode: 0o755, ...more })
export const symlink = (name: string, linkname: string): RawEntry => ({ name, typeflag: '2', linkname, mode: 0o777 })
export const link = (name: string, linkname: string): RawEntry => ({ name, typeflag: '1', linkname })
