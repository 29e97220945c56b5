import fc from 'fast-check'
import { base256, buildTar, oldGnuSparse, paxSparse, type RawEntry, rawEntry } from '../tar-builder.ts'

/** Archives in which names meet each other often, and the damage that is done to them. */

const directoryPart = fc.constantFrom('a', 'b', 'dd')
const leafPart = fc.oneof({ weight: 4, arbitrary: fc.constantFrom('f', 'g', 'h') }, directoryPart)
const blank = fc.oneof({ weight: 9, arbitrary: fc.constant([]) }, fc.constantFrom(['.'], ['']))
/** No `..` behind a name: Go, and so windlass, cleans it as text, where the tars ask the kernel. */
const start = fc.oneof({ weight: 9, arbitrary: fc.constantFrom('', './') }, fc.constantFrom('/', '../', '../../'))

function nameOf(leaf: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(start, fc.array(directoryPart, { maxLength: 2 }), blank, leaf)
    .map(([first, parts, odd, last]) => `${first}${[...parts, ...odd, last].join('/')}`)
}

const name = nameOf(leafPart)
const target = fc.oneof(
  { weight: 3, arbitrary: name },
  { weight: 1, arbitrary: fc.constantFrom('/', '..', '../..', '/outside', '../../../outside/file', 'b/../a', '/a/b') },
)

const facts = {
  mode: fc.constantFrom(0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777, 0),
  uid: fc.constantFrom(0, 0, 1000, 70_000),
  gid: fc.constantFrom(0, 0, 1000, 3_000_000),
  mtime: fc.constantFrom(0, 1, 1_700_000_000, 8_589_934_592),
}
const pax = fc.option(
  fc.record(
    {
      path: name,
      mtime: fc.constantFrom('5.25', '1700000000'),
      'SCHILY.xattr.user.note': fc.constantFrom('x', 'y=z\n'),
      comment: fc.constant('c'),
    },
    { requiredKeys: [] },
  ),
  { nil: undefined, freq: 4 },
)
const data = fc.uint8Array({ maxLength: 1500 })

const file = fc.record({ ...facts, name, data, pax })
const directoryName = fc.oneof(
  { weight: 9, arbitrary: nameOf(directoryPart) },
  fc.constantFrom('.', '/', './', '../', 'a/', 'b//'),
)
const directory = fc.record({ ...facts, name: directoryName, typeflag: fc.constant('5') })
const symlink = fc.record({ ...facts, name, linkname: target, typeflag: fc.constant('2') })
/** To something that is there, as far as an earlier entry says, or to anything. */
const link = fc.record({
  ...facts,
  name,
  linkname: fc.oneof({ weight: 4, arbitrary: fc.nat(20) }, target),
  typeflag: fc.constant('1'),
})
const node = fc.record({
  ...facts,
  name,
  typeflag: fc.constantFrom('3', '4', '6'),
  devmajor: fc.constantFrom(1, 7),
  devminor: fc.constantFrom(3, 300),
})
const longName = fc.record({
  ...facts,
  name: fc.constant('short'),
  gnuName: name,
  data,
  magic: fc.constant('ustar  \0'),
})

function clean(entry: object): Draft {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)) as Draft
}

const plain = fc.oneof(
  { weight: 8, arbitrary: file },
  { weight: 4, arbitrary: directory },
  { weight: 4, arbitrary: symlink },
  { weight: 3, arbitrary: link },
  { weight: 1, arbitrary: node },
  { weight: 1, arbitrary: longName },
)

const sparse = fc
  .record({ ...facts, name, format: fc.constantFrom('old', '0.0', '0.1', '1.0'), more: fc.nat(4) })
  .map(({ format, more, ...header }) => {
    const segments = Array.from({ length: more + 1 }, (_, n) => ({ offset: n * 4096, data: Buffer.alloc(512, 65 + n) }))
    const facts = { ...header, realSize: 4096 * (more + 2), segments }
    return format === 'old' ? oldGnuSparse(facts) : paxSparse(format as '1.0', facts)
  })

type Draft = Omit<RawEntry, 'linkname'> & { readonly linkname?: string | number }
const entry: fc.Arbitrary<Draft | Buffer> = fc.oneof(
  { weight: 12, arbitrary: plain.map(clean) },
  { weight: 1, arbitrary: sparse },
)

function build(drafts: readonly (Draft | Buffer)[]): Buffer {
  const names: string[] = []
  return buildTar(
    drafts.map(draft => {
      if (Buffer.isBuffer(draft)) return draft
      const { linkname = '', ...rest } = draft
      const resolved = typeof linkname === 'number' ? (names[linkname % names.length] ?? 'f') : linkname
      if (draft.typeflag !== '5' && draft.name !== undefined) names.push(String(draft.name))
      return rawEntry({ ...rest, linkname: resolved })
    }),
  )
}

/** Whole archives: all that is odd is what the entries do to each other. */
export const archive: fc.Arbitrary<Buffer> = fc.array(entry, { minLength: 1, maxLength: 9 }).map(build)

const whiteout = fc.record({ ...facts, name: name.map(hide) }).map(clean)

function hide(text: string): string {
  const slash = text.lastIndexOf('/')
  const base = text.slice(slash + 1)
  return `${text.slice(0, slash + 1)}.wh.${base === 'h' ? '.wh..opq' : base}`
}

/** Layers with whiteouts, which mean nothing to a tar. */
export const layer: fc.Arbitrary<Buffer> = fc
  .array(fc.oneof({ weight: 3, arbitrary: entry }, { weight: 1, arbitrary: whiteout }), { minLength: 1, maxLength: 9 })
  .map(build)

/**
 * Where a header has something to be wrong, with the length of the field. Not the prefix: in a GNU header, windlass reads it as Go does
 * (`readMistakenPrefix`), and the tars do not.
 */
const fields: readonly (readonly [number, number])[] = [
  [0, 100],
  [100, 8],
  [108, 8],
  [116, 8],
  [124, 12],
  [136, 12],
  [156, 1],
  [157, 100],
  [257, 8],
  [329, 8],
  [337, 8],
  [386, 24],
  [482, 1],
  [483, 12],
]
const strange = fc.constantFrom(
  Buffer.from('-1'),
  Buffer.from('        '),
  Buffer.from('7777777777777'),
  Buffer.from('00000001000\0'),
  Buffer.from(' 1 2 3'),
  Buffer.from('0x10'),
  Buffer.from('../../outside/file\0'),
  Buffer.from('a/b\0'),
  Buffer.alloc(12),
  base256(-1, 12),
  base256(2n ** 40n, 12),
  base256(2n ** 63n, 12),
  base256(3, 8),
)

type Damage = (bytes: Buffer) => Buffer

/** Where some block begins. */
function blockAt(bytes: Buffer, n: number): number {
  return (n % Math.max(1, Math.floor(bytes.length / 512))) * 512
}

const setField = fc.tuple(fc.nat(60), fc.constantFrom(...fields), strange).map(
  ([n, [at, length], value]): Damage =>
    bytes => {
      value.copy(bytes, blockAt(bytes, n) + at, 0, length)
      return bytes
    },
)
const setByte = fc.tuple(fc.nat(30_000), fc.nat(255)).map(
  ([at, value]): Damage =>
    bytes => {
      bytes[at % bytes.length] = value
      return bytes
    },
)
const cut = fc.nat(30_000).map(
  (at): Damage =>
    bytes =>
      bytes.subarray(0, at % bytes.length),
)
const copyBlock = fc.tuple(fc.nat(60), fc.nat(60)).map(
  ([from, to]): Damage =>
    bytes => {
      const [source, place] = [blockAt(bytes, from), blockAt(bytes, to)]
      return Buffer.concat([bytes.subarray(0, place), bytes.subarray(source, source + 512), bytes.subarray(place)])
    },
)
const dropBlock = fc.nat(60).map(
  (n): Damage =>
    bytes => {
      const at = blockAt(bytes, n)
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 512)])
    },
)

const damage: fc.Arbitrary<Damage> = fc.oneof(
  { weight: 4, arbitrary: setField },
  { weight: 3, arbitrary: setByte },
  { weight: 1, arbitrary: cut },
  { weight: 1, arbitrary: copyBlock },
  { weight: 1, arbitrary: dropBlock },
)

/** Archives that something happened to; mostly with checksums made right again, so that the damage gets further. */
export const damagedArchive: fc.Arbitrary<Buffer> = fc
  .tuple(archive, fc.array(damage, { minLength: 1, maxLength: 3 }), fc.integer({ min: 0, max: 9 }))
  .map(([bytes, damages, luck]) => {
    let result = Buffer.from(bytes)
    for (const harm of damages) if (result.length > 0) result = Buffer.from(harm(result))
    if (luck > 0) fixChecksums(result)
    return result
  })

function fixChecksums(bytes: Buffer): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512)
    if (block.toString('latin1', 257, 262) !== 'ustar') continue
    block.fill(' ', 148, 156)
    const sum = block.reduce((total, byte) => total + byte, 0)
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  }
}
