/**
 * A process of its own that unpacks many archives, one after the other, each with a directory of its own as root: as the unpack thread does it, but without
 * a thread for each. argv: the directory that holds `in/`, `ours/` and `layers/`, from which it never comes out again.
 */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, realpathSync, writeSync } from 'node:fs'
import { isWindlassError } from '../../src/errors.ts'
import { LayerApplier, type UnpackMode } from '../../src/layer/apply.ts'
import { cleanName } from '../../src/layer/names.ts'
import { chdir, chroot, cPath, umask } from '../../src/sys/libc.ts'
import { TarReader } from '../../src/tar/reader.ts'
import { memorySource } from '../memory-source.ts'

/** Directories whose facts no single entry decides: made for what stands in them, or described more than once. */
function unpack(bytes: Uint8Array, mode: UnpackMode): readonly string[] {
  const reader = new TarReader(memorySource(bytes))
  using applier = new LayerApplier(mode, { uid: 0, gid: 0 })
  const described = new Set<string>()
  const vague: string[] = []
  for (let entry = reader.next(); entry !== undefined; entry = reader.next()) {
    applier.apply(entry, reader)
    if (entry.type !== 'directory') continue
    const path = realPath(cleanName(entry.name))
    if (described.has(path)) vague.push(path)
    described.add(path)
  }
  vague.push(...applier.finish().implied.map(realPath))
  reader.drain()
  return vague
}

/** As readTree names it. */
function realPath(name: string): string {
  const path = Buffer.from(`/${name}`, 'latin1')
  return existsSync(path) ? realpathSync.native(path, { encoding: 'buffer' }).toString('latin1').slice(1) || '.' : name
}

/** What became of one archive: one line, so that whoever reads sees which one this process died of. */
function unpackInto(directory: string, bytes: Uint8Array, mode: UnpackMode): string {
  mkdirSync(directory)
  chroot(cPath(directory))
  try {
    return JSON.stringify({ vague: unpack(bytes, mode) })
  } catch (error) {
    return JSON.stringify({ refused: String(error), ours: isWindlassError(error) })
  } finally {
    // The working directory is still that of all, outside of this root: so this is the way back.
    chroot(cPath('.'))
  }
}

const base = process.argv[2] ?? '/nowhere'
const output = openSync(`${base}/ours.log`, 'w')
umask(0)
chdir(cPath(base))
chroot(cPath(base))
for (const [kind, mode] of [['ours', 'flat'] as const, ['layers', 'overlay'] as const])
  for (const name of readdirSync(kind === 'ours' ? '/in' : '/in-layers').sort()) {
    writeSync(output, `${kind} ${name} `)
    const bytes = readFileSync(`${kind === 'ours' ? '/in' : '/in-layers'}/${name}`)
    writeSync(output, `${unpackInto(`/${kind}/${name}`, bytes, mode)}\n`)
  }
closeSync(output)
