/**
 * A filesystem in user space that passes everything on to a directory, but for what it was told to answer otherwise: a process of its own, since whoever uses
 * it waits for it. One request after the other. argv: the directory, the mount point, the orders (a file, see `FuseOrders`), the tally (the beginning of the names of files).
 * The protocol is that of the kernel's include/uapi/linux/fuse.h, version 7.31; sizes and offsets below are those of its structs.
 */
import {
  type BigIntStats,
  closeSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { constants } from 'node:os'
import {
  AT_FDCWD,
  fchmodat,
  lchownat,
  lgetxattr,
  llistxattr,
  lremovexattr,
  lsetxattr,
  lutimensat,
  mknodat,
  mount,
  O,
  SystemError,
  writeTimespec,
} from '../../src/sys/libc.ts'
import type { FuseOrders } from './failing-filesystem.ts'

const { ENOSYS, ENOENT, ENODATA, ERANGE, EIO, ENODEV, EINTR, EAGAIN } = constants.errno

/** Numbers of the requests that are answered; what is missing is ENOSYS, which the kernel takes as "does without". */
const names: Readonly<Record<number, string>> = {
  1: 'LOOKUP',
  2: 'FORGET',
  3: 'GETATTR',
  4: 'SETATTR',
  5: 'READLINK',
  6: 'SYMLINK',
  8: 'MKNOD',
  9: 'MKDIR',
  10: 'UNLINK',
  11: 'RMDIR',
  12: 'RENAME',
  13: 'LINK',
  14: 'OPEN',
  15: 'READ',
  16: 'WRITE',
  17: 'STATFS',
  18: 'RELEASE',
  20: 'FSYNC',
  21: 'SETXATTR',
  22: 'GETXATTR',
  23: 'LISTXATTR',
  24: 'REMOVEXATTR',
  25: 'FLUSH',
  26: 'INIT',
  27: 'OPENDIR',
  28: 'READDIR',
  29: 'RELEASEDIR',
  30: 'FSYNCDIR',
  35: 'CREATE',
  36: 'INTERRUPT',
  38: 'DESTROY',
  42: 'BATCH_FORGET',
  45: 'RENAME2',
}
const unanswered: ReadonlySet<string> = new Set(['FORGET', 'BATCH_FORGET', 'INTERRUPT'])

const headerSize = 40
const writeMax = 128 * 1024
const namesOfSetattr = { mode: 1, uid: 2, gid: 4, size: 8, atime: 16, mtime: 32, fh: 64, atimeNow: 128, mtimeNow: 256 }
const UTIME_NOW = 0x3fffffff
const UTIME_OMIT = 0x3ffffffe
const RENAME_FLAGS_AT = 8
const O_APPEND = 0o2000

interface Request {
  readonly unique: bigint
  readonly node: bigint
  readonly body: Buffer
}

/** A name in the tree. Those of one file that was linked are several. */
interface Place {
  readonly id: bigint
  parent: Place | undefined
  name: string
  readonly children: Map<string, Place>
  /** Of what is open there: what is left when the name is gone. */
  fd: number | undefined
}

const [backing = '', mountPoint = '', ordersFile = '', tallyFile = ''] = process.argv.slice(2)
const root: Place = { id: 1n, parent: undefined, name: '', children: new Map(), fd: undefined }
const places = new Map<bigint, Place>([[1n, root]])
const listings = new Map<bigint, Buffer[]>()
let lastHandle = 1n << 32n

function placeOf(id: bigint): Place {
  const place = places.get(id)
  if (place === undefined) throw new SystemError('fuse', ENOENT)
  return place
}

function childOf(parent: Place, name: string): Place {
  const known = parent.children.get(name)
  if (known !== undefined) return known
  const place: Place = { id: BigInt(places.size + 1), parent, name, children: new Map(), fd: undefined }
  places.set(place.id, place)
  parent.children.set(name, place)
  return place
}

function pathOf(place: Place, child?: string): Buffer {
  const parts: string[] = child === undefined ? [] : [child]
  for (let at: Place | undefined = place; at !== undefined; at = at.parent) if (at !== root) parts.push(at.name)
  return Buffer.concat([Buffer.from(`${backing}/`), Buffer.from(parts.reverse().join('/'), 'latin1')])
}

const cPathOf = (place: Place, child?: string): Buffer => Buffer.concat([pathOf(place, child), Buffer.of(0)])

function statOf(place: Place): BigIntStats {
  try {
    return lstatSync(pathOf(place), { bigint: true })
  } catch (error) {
    if (place.fd === undefined) throw error
    return fstatSync(place.fd, { bigint: true })
  }
}

/** Strings that end with a NUL each. */
function stringsIn(bytes: Buffer): string[] {
  return bytes.toString('latin1').split('\0')
}

function attributesOf(stat: BigIntStats): Buffer {
  const bytes = Buffer.alloc(88)
  const large = [stat.ino, stat.size, stat.blocks, stat.atimeNs, stat.mtimeNs, stat.ctimeNs]
  for (const [at, value] of large.entries()) bytes.writeBigInt64LE(at < 3 ? value : value / 1_000_000_000n, at * 8)
  const times = [stat.atimeNs, stat.mtimeNs, stat.ctimeNs].map(ns => Number(ns % 1_000_000_000n))
  const rest = [
    ...times,
    Number(stat.mode),
    Number(stat.nlink),
    Number(stat.uid),
    Number(stat.gid),
    Number(stat.rdev),
    4096,
  ]
  for (const [at, value] of rest.entries()) bytes.writeUInt32LE(value, 48 + at * 4)
  return bytes
}

/** Names are remembered by the kernel, attributes are asked for each time. */
function entryOf(place: Place): Buffer {
  const head = Buffer.alloc(40)
  const stat = statOf(place)
  head.writeBigUInt64LE(place.id, 0)
  head.writeBigUInt64LE(1000n, 16)
  return Buffer.concat([head, attributesOf(stat)])
}

function openedOf(handle: bigint): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeBigUInt64LE(handle, 0)
  return bytes
}

function openFile(place: Place, flags: number, mode?: number): Buffer {
  // What the kernel has done already: the position, the end, and that the name is new.
  const fd = openSync(pathOf(place), flags & ~O_APPEND, mode)
  place.fd = fd
  return openedOf(BigInt(fd))
}

function forgetPlace(parent: Place, name: string): void {
  const place = parent.children.get(name)
  parent.children.delete(name)
  if (place !== undefined) place.name = '\u0001gone'
}

function rename(from: Place, newParent: bigint, text: Buffer): Buffer {
  const [oldName = '', newName = ''] = stringsIn(text)
  const to = placeOf(newParent)
  renameSync(pathOf(from, oldName), pathOf(to, newName))
  const moved = from.children.get(oldName)
  forgetPlace(to, newName)
  from.children.delete(oldName)
  if (moved === undefined) return Buffer.alloc(0)
  moved.parent = to
  moved.name = newName
  to.children.set(newName, moved)
  return Buffer.alloc(0)
}

function setAttributes(place: Place, body: Buffer): Buffer {
  const valid = body.readUInt32LE(0)
  const has = (name: keyof typeof namesOfSetattr): boolean => (valid & namesOfSetattr[name]) !== 0
  const path = cPathOf(place)
  if (has('size')) {
    const size = Number(body.readBigUInt64LE(16))
    if (has('fh')) ftruncateSync(Number(body.readBigUInt64LE(8)), size)
    else truncateSync(pathOf(place), size)
  }
  if (has('uid') || has('gid'))
    lchownat(
      AT_FDCWD,
      path,
      has('uid') ? body.readUInt32LE(76) : 0xffff_ffff,
      has('gid') ? body.readUInt32LE(80) : 0xffff_ffff,
    )
  if (has('mode')) fchmodat(AT_FDCWD, path, body.readUInt32LE(68) & 0o7777)
  if (has('atime') || has('mtime')) {
    const times = Buffer.alloc(32)
    for (const [at, name] of (['atime', 'mtime'] as const).entries()) {
      const nanoseconds = has(`${name}Now`) ? UTIME_NOW : has(name) ? body.readUInt32LE(56 + at * 4) : UTIME_OMIT
      writeTimespec(times, at * 16, Number(body.readBigInt64LE(32 + at * 8)), nanoseconds)
    }
    lutimensat(AT_FDCWD, path, times)
  }
  return attributesReply(place)
}

function attributesReply(place: Place): Buffer {
  return Buffer.concat([Buffer.alloc(16), attributesOf(statOf(place))])
}

/** A value, or its length if nobody has made room for it yet. */
function sized(value: Buffer, sizeMax: number): Buffer {
  if (sizeMax === 0) {
    const bytes = Buffer.alloc(8)
    bytes.writeUInt32LE(value.length, 0)
    return bytes
  }
  if (value.length > sizeMax) throw new SystemError('fuse', ERANGE)
  return value
}

function readListing(body: Buffer): Buffer {
  const entries = listings.get(body.readBigUInt64LE(0)) ?? []
  const [offset, sizeMax] = [Number(body.readBigUInt64LE(8)), body.readUInt32LE(16)]
  const parts: Buffer[] = []
  let size = 0
  for (const [at, name] of entries.entries()) {
    if (at < offset) continue
    const length = (24 + name.length + 7) & ~7
    if (size + length > sizeMax) break
    const entry = Buffer.alloc(length)
    entry.writeBigUInt64LE(BigInt(at + 1), 0)
    entry.writeBigUInt64LE(BigInt(at + 1), 8)
    entry.writeUInt32LE(name.length, 16)
    name.copy(entry, 24)
    parts.push(entry)
    size += length
  }
  return Buffer.concat(parts)
}

function space(): Buffer {
  const { blocks, bfree, bavail, files, ffree, bsize } = statfsSync(backing)
  const bytes = Buffer.alloc(80)
  for (const [at, value] of [blocks, bfree, bavail, files, ffree].entries())
    bytes.writeBigUInt64LE(BigInt(value), at * 8)
  for (const [at, value] of [bsize, 255, bsize].entries()) bytes.writeUInt32LE(value, 40 + at * 4)
  return bytes
}

function hello(body: Buffer): Buffer {
  const bytes = Buffer.alloc(64)
  const bigWrites = 1 << 5
  for (const [at, value] of [7, 31, body.readUInt32LE(8), bigWrites].entries()) bytes.writeUInt32LE(value, at * 4)
  bytes.writeUInt16LE(16, 16)
  bytes.writeUInt16LE(12, 18)
  bytes.writeUInt32LE(writeMax, 20)
  bytes.writeUInt32LE(1, 24)
  return bytes
}

const nothing: Buffer = Buffer.alloc(0)

const answers: Readonly<Record<string, (request: Request) => Buffer>> = {
  INIT: ({ body }) => hello(body),
  DESTROY: () => nothing,
  STATFS: space,
  LOOKUP: ({ node, body }) => {
    const parent = placeOf(node)
    const [name = ''] = stringsIn(body)
    lstatSync(pathOf(parent, name))
    return entryOf(childOf(parent, name))
  },
  GETATTR: ({ node }) => attributesReply(placeOf(node)),
  SETATTR: ({ node, body }) => setAttributes(placeOf(node), body),
  READLINK: ({ node }) => readlinkSync(pathOf(placeOf(node)), { encoding: 'buffer' }),
  SYMLINK: ({ node, body }) => {
    const [name = '', target = ''] = stringsIn(body)
    symlinkSync(Buffer.from(target, 'latin1'), pathOf(placeOf(node), name))
    return entryOf(childOf(placeOf(node), name))
  },
  MKNOD: ({ node, body }) => {
    const [name = ''] = stringsIn(body.subarray(16))
    mknodat(AT_FDCWD, cPathOf(placeOf(node), name), body.readUInt32LE(0), BigInt(body.readUInt32LE(4)))
    return entryOf(childOf(placeOf(node), name))
  },
  MKDIR: ({ node, body }) => {
    const [name = ''] = stringsIn(body.subarray(8))
    mkdirSync(pathOf(placeOf(node), name), body.readUInt32LE(0))
    return entryOf(childOf(placeOf(node), name))
  },
  UNLINK: ({ node, body }) => {
    const [name = ''] = stringsIn(body)
    unlinkSync(pathOf(placeOf(node), name))
    forgetPlace(placeOf(node), name)
    return nothing
  },
  RMDIR: ({ node, body }) => {
    const [name = ''] = stringsIn(body)
    rmdirSync(pathOf(placeOf(node), name))
    forgetPlace(placeOf(node), name)
    return nothing
  },
  RENAME: ({ node, body }) => rename(placeOf(node), body.readBigUInt64LE(0), body.subarray(8)),
  RENAME2: ({ node, body }) => {
    if (body.readUInt32LE(RENAME_FLAGS_AT) !== 0) throw new SystemError('fuse', constants.errno.EINVAL)
    return rename(placeOf(node), body.readBigUInt64LE(0), body.subarray(16))
  },
  LINK: ({ node, body }) => {
    const [name = ''] = stringsIn(body.subarray(8))
    linkSync(pathOf(placeOf(body.readBigUInt64LE(0))), pathOf(placeOf(node), name))
    return entryOf(childOf(placeOf(node), name))
  },
  OPEN: ({ node, body }) => openFile(placeOf(node), body.readUInt32LE(0)),
  CREATE: ({ node, body }) => {
    const [name = ''] = stringsIn(body.subarray(16))
    const place = childOf(placeOf(node), name)
    const opened = openFile(place, body.readUInt32LE(0) | O.CREAT, body.readUInt32LE(4))
    return Buffer.concat([entryOf(place), opened])
  },
  READ: ({ body }) => {
    const bytes = Buffer.alloc(body.readUInt32LE(16))
    const position = Number(body.readBigUInt64LE(8))
    return bytes.subarray(0, readSync(Number(body.readBigUInt64LE(0)), bytes, 0, bytes.length, position))
  },
  WRITE: ({ body }) => {
    const data = body.subarray(40, 40 + body.readUInt32LE(16))
    const position = Number(body.readBigUInt64LE(8))
    for (let at = 0; at < data.length; )
      at += writeSync(Number(body.readBigUInt64LE(0)), data, at, data.length - at, position + at)
    const written = Buffer.alloc(8)
    written.writeUInt32LE(data.length, 0)
    return written
  },
  FLUSH: () => nothing,
  FSYNC: () => nothing,
  FSYNCDIR: () => nothing,
  RELEASE: ({ node, body }) => {
    const fd = Number(body.readBigUInt64LE(0))
    closeSync(fd)
    const place = places.get(node)
    if (place?.fd === fd) place.fd = undefined
    return nothing
  },
  OPENDIR: ({ node }) => {
    const handle = lastHandle++
    listings.set(handle, readdirSync(pathOf(placeOf(node)), { encoding: 'buffer' }))
    return openedOf(handle)
  },
  READDIR: ({ body }) => readListing(body),
  RELEASEDIR: ({ body }) => {
    listings.delete(body.readBigUInt64LE(0))
    return nothing
  },
  GETXATTR: ({ node, body }) => {
    const [name = ''] = stringsIn(body.subarray(8))
    const value = lgetxattr(cPathOf(placeOf(node)), Buffer.from(`${name}\0`, 'latin1'))
    if (value === undefined) throw new SystemError('fuse', ENODATA)
    return sized(value, body.readUInt32LE(0))
  },
  SETXATTR: ({ node, body }) => {
    const text = body.subarray(8)
    const end = text.indexOf(0) + 1
    lsetxattr(cPathOf(placeOf(node)), text.subarray(0, end), text.subarray(end, end + body.readUInt32LE(0)))
    return nothing
  },
  LISTXATTR: ({ node, body }) => {
    const list = llistxattr(cPathOf(placeOf(node))).map(name => `${name}\0`)
    return sized(Buffer.from(list.join(''), 'latin1'), body.readUInt32LE(0))
  },
  REMOVEXATTR: ({ node, body }) => {
    lremovexattr(cPathOf(placeOf(node)), body)
    return nothing
  },
}

/** How many requests the orders are about, and how many of them they have met. */
const tally = { matched: 0, met: 0 }
const held: { name: string; request: Request }[] = []
let orders: FuseOrders = {}
let ordersText = ''

function writeDown(when: 'now' | 'last' | 'end'): void {
  writeFileSync(`${tallyFile}.new`, JSON.stringify(tally))
  renameSync(`${tallyFile}.new`, `${tallyFile}.${when}`)
}

/** @returns whether they are new */
function readOrders(): boolean {
  const text = readFileSync(ordersFile, 'utf8')
  if (text === ordersText) return false
  ordersText = text
  orders = JSON.parse(text) as FuseOrders
  writeDown('last')
  Object.assign(tally, { matched: 0, met: 0 })
  writeDown('now')
  if (orders.hang !== true) for (const { name, request } of held.splice(0)) answer(name, request)
  return true
}

/** What is to be answered in place of the truth. */
function isToFail(name: string): boolean {
  const { requests = [], from = 1, count = Number.POSITIVE_INFINITY } = orders
  if (!requests.includes(name)) return false
  tally.matched++
  return tally.matched >= from && tally.matched < from + count
}

function errnoOf(error: unknown): number {
  if (error instanceof SystemError) return error.errno
  const { errno } = error as NodeJS.ErrnoException
  return errno === undefined ? EIO : -errno
}

const device = openSync('/dev/fuse', 'r+')

function reply({ unique }: Request, error: number, data: Uint8Array = nothing): void {
  const head = Buffer.alloc(16)
  head.writeUInt32LE(16 + data.length, 0)
  head.writeInt32LE(-error, 4)
  head.writeBigUInt64LE(unique, 8)
  try {
    writeSync(device, Buffer.concat([head, data]))
  } catch (cause) {
    if (errnoOf(cause) !== ENOENT) throw cause // who waited for it was killed
  }
}

function answer(name: string, request: Request): void {
  const act = answers[name]
  if (act === undefined) return reply(request, ENOSYS)
  let data: Uint8Array
  try {
    data = act(request)
  } catch (error) {
    return reply(request, errnoOf(error))
  }
  reply(request, 0, data)
}

function serve(bytes: Buffer): void {
  const areNew = readOrders()
  const name = names[bytes.readUInt32LE(4)] ?? ''
  const request = {
    unique: bytes.readBigUInt64LE(8),
    node: bytes.readBigUInt64LE(16),
    body: bytes.subarray(headerSize),
  }
  if (unanswered.has(name)) return
  // Who has given them asks, so that they are read: that is none of the requests that they are about.
  if ((areNew && name === 'STATFS') || !isToFail(name)) return answer(name, request)
  if (tally.met++ === 0) writeDown('now')
  if (orders.hang === true) return void held.push({ name, request })
  if (orders.error !== undefined) return reply(request, constants.errno[orders.error])
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, orders.slowMs ?? 0)
  answer(name, request)
}

mount(
  'windlass-test',
  mountPoint,
  'fuse',
  0,
  `fd=${device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other`,
)
const buffer = Buffer.allocUnsafeSlow(writeMax + 64 * 1024)
for (;;) {
  try {
    serve(Buffer.from(buffer.subarray(0, readSync(device, buffer))))
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === ENODEV) break // it was unmounted
    if (errno !== EINTR && errno !== EAGAIN && errno !== ENOENT) throw error
  }
}
writeDown('end')
