/**
 * The one door to libc: what Node lacks, and what the unpack thread calls for every entry. Nothing else imports koffi.
 *
 * Paths are byte strings: a NUL-terminated buffer, so that names that are not UTF-8 pass unchanged (`cPath` makes one).
 * Every function returns what the kernel returns, or throws a SystemError with the errno's name in `code`.
 * Constants are those of Linux on x86-64 and arm64; where the two differ, the value is chosen by architecture.
 */
import { constants as osConstants } from 'node:os'
import koffi from 'koffi'

const library = koffi.load('libc.so.6')
const arm = process.arch === 'arm64'

/** open(2) flags. O_DIRECTORY and O_NOFOLLOW are swapped between the two architectures. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  NONBLOCK: 0o4000,
  DIRECTORY: arm ? 0o40000 : 0o200000,
  NOFOLLOW: arm ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const

export const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
export const CLONE_FS = 0x200

/** mount(2) flags. */
export const MS = { RDONLY: 1, NOSUID: 2, NODEV: 4, REMOUNT: 32, BIND: 4096 } as const
export const MNT_DETACH = 2
export const UMOUNT_NOFOLLOW = 8

/** fcntl(2): locks that belong to the open file description, so that two opens in one process conflict as two processes do. */
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

const PR_SET_PDEATHSIG = 1

const errnoNames = new Map(Object.entries(osConstants.errno).map(([name, value]) => [value, name]))

/** A failed system call: `code` is the errno's name (ENOENT), `errno` its number, `syscall` the call. */
export class SystemError extends Error {
  readonly errno: number
  readonly code: string
  readonly syscall: string

  constructor(syscall: string, errno: number, path?: Uint8Array) {
    const code = errnoNames.get(errno) ?? `E${errno}`
    super(path === undefined ? `${syscall}: ${code}` : `${syscall}: ${code}, '${showPath(path)}'`)
    this.name = 'SystemError'
    this.errno = errno
    this.code = code
    this.syscall = syscall
  }
}

/** The text of a NUL-terminated path for messages: bytes that are no UTF-8 or not printable are escaped. */
function showPath(path: Uint8Array): string {
  const end = path.indexOf(0)
  return Buffer.from(end < 0 ? path : path.subarray(0, end))
    .toString()
    .replace(/[\0-\x1f\x7f]/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

/** A NUL-terminated path from text (UTF-8) or from a byte string (one character per byte) if `encoding` is latin1. */
export function cPath(path: string, encoding: 'utf8' | 'latin1' = 'utf8'): Buffer {
  return Buffer.from(`${path}\0`, encoding)
}

koffi.struct('iovec', { base: 'void *', length: 'size_t' })

function declare(prototype: string): (...args: unknown[]) => number {
  return library.func(prototype) as unknown as (...args: unknown[]) => number
}

const c = {
  unshare: declare('int unshare(int flags)'),
  chroot: declare('int chroot(const void *path)'),
  chdir: declare('int chdir(const void *path)'),
  fchdir: declare('int fchdir(int fd)'),
  umask: declare('unsigned int umask(unsigned int mask)'),
  openat: declare('int openat(int dir, const void *path, int flags, unsigned int mode)'),
  readlinkat: declare('int64_t readlinkat(int dir, const void *path, void *target, size_t size)'),
  close: declare('int close(int fd)'),
  write: declare('int64_t write(int fd, const void *data, size_t length)'),
  lseek: declare('int64_t lseek(int fd, int64_t offset, int whence)'),
  ftruncate: declare('int ftruncate(int fd, int64_t length)'),
  mkdirat: declare('int mkdirat(int dir, const void *path, unsigned int mode)'),
  mknodat: declare('int mknodat(int dir, const void *path, unsigned int mode, uint64_t device)'),
  symlinkat: declare('int symlinkat(const void *target, int dir, const void *path)'),
  linkat: declare('int linkat(int dir, const void *target, int newDir, const void *path, int flags)'),
  unlinkat: declare('int unlinkat(int dir, const void *path, int flags)'),
  fchownat: declare('int fchownat(int dir, const void *path, unsigned int uid, unsigned int gid, int flags)'),
  fchown: declare('int fchown(int fd, unsigned int uid, unsigned int gid)'),
  fchmod: declare('int fchmod(int fd, unsigned int mode)'),
  fchmodat: declare('int fchmodat(int dir, const void *path, unsigned int mode, int flags)'),
  utimensat: declare('int utimensat(int dir, const void *path, const void *times, int flags)'),
  futimens: declare('int futimens(int fd, const void *times)'),
  fsetxattr: declare('int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)'),
  lsetxattr: declare('int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)'),
  lremovexattr: declare('int lremovexattr(const void *path, const void *name)'),
  getxattr: declare('int64_t getxattr(const void *path, const void *name, void *value, size_t size)'),
  lgetxattr: declare('int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)'),
  listxattr: declare('int64_t listxattr(const void *path, void *list, size_t size)'),
  llistxattr: declare('int64_t llistxattr(const void *path, void *list, size_t size)'),
  fstat: declare('int fstat(int fd, void *stat)'),
  fstatat: declare('int fstatat(int dir, const void *path, void *stat, int flags)'),
  syncfs: declare('int syncfs(int fd)'),
  syncFileRange: declare('int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)'),
  mount: declare(
    'int mount(const void *source, const void *target, const void *type, uint64_t flags, const void *data)',
  ),
  umount2: declare('int umount2(const void *target, int flags)'),
  getdents: declare('int64_t syscall(int64_t number, int fd, void *entries, size_t size)'),
  exit: declare('void _exit(int status)'),
  prctl: declare('int prctl(int option, uint64_t argument)'),
  syscallNumber: declare('int64_t syscall(int64_t number)'),
  flock: declare('int flock(int fd, int operation)'),
  fcntlLock: declare('int fcntl(int fd, int command, void *lock)'),
  fcntlInt: declare('int fcntl(int fd, int command, int argument)'),
  pipe2: declare('int pipe2(void *fds, int flags)'),
  ioctl: declare('int ioctl(int fd, uint64_t request, void *argument)'),
  socket: declare('int socket(int family, int type, int protocol)'),
  setsockopt: declare('int setsockopt(int fd, int level, int name, const void *value, unsigned int length)'),
  getsockopt: declare('int getsockopt(int fd, int level, int name, void *value, void *length)'),
  connect: declare('int connect(int fd, const void *address, unsigned int length)'),
  tee: declare('int64_t tee(int from, int to, size_t length, unsigned int flags)'),
  ptrace: declare('int64_t syscall(int64_t number, int64_t request, int64_t tid, int64_t address, int64_t data)'),
  ptraceRegisters: declare(
    'int64_t syscall(int64_t number, int64_t request, int64_t tid, int64_t set, _Inout_ iovec *registers)',
  ),
  wait4: declare('int wait4(int pid, void *status, int options, void *usage)'),
}

/**
 * Lets this thread load no library any more, and call none from libuv's pool: `instead` is called in its place. What is declared here can still be called.
 */
export function closeLibraries(instead: () => never): void {
  for (const call of Object.values(c)) Object.assign(call, { async: instead })
  Object.assign(koffi, { load: instead, call: instead, register: instead })
}

function check(result: number, syscall: string, path?: Uint8Array): number {
  if (result >= 0) return result
  throw new SystemError(syscall, koffi.errno(), path)
}

/** The errno of the last call of this thread that returned a negative number. */
export function lastErrno(): number {
  return koffi.errno()
}

export function unshare(flags: number): void {
  check(c.unshare(flags), 'unshare')
}

export function chroot(path: Uint8Array): void {
  check(c.chroot(path), 'chroot', path)
}

export function chdir(path: Uint8Array): void {
  check(c.chdir(path), 'chdir', path)
}

/** Also into a directory that lies outside of the thread's root. */
export function fchdir(fd: number): void {
  check(c.fchdir(fd), 'fchdir')
}

/** Sets the file mode creation mask and returns the old one. Belongs to the thread after `unshare(CLONE_FS)`. */
export function umask(mask: number): number {
  return c.umask(mask)
}

/** Like openat(2), but returns the negative result as it is: the hot path looks at `lastErrno()` itself. */
export function tryOpenat(dir: number, path: Uint8Array, flags: number, mode = 0): number {
  return c.openat(dir, path, flags | O.CLOEXEC, mode)
}

/** The target of a symlink that is held open by O_PATH, as a byte string. */
export function readlinkat(fd: number): string {
  const target = Buffer.allocUnsafe(4096) // PATH_MAX
  return target.toString('latin1', 0, check(c.readlinkat(fd, cPath(''), target, target.length), 'readlinkat'))
}

export function close(fd: number): void {
  check(c.close(fd), 'close')
}

/** Writes the whole view, in as many calls as the kernel wants. */
export function writeAll(fd: number, data: Uint8Array): void {
  let done = check(c.write(fd, data, data.length), 'write')
  while (done < data.length) {
    const rest = data.subarray(done)
    done += check(c.write(fd, rest, rest.length), 'write')
  }
}

/** Moves the file offset by `length` from where it is: a hole, if something is written or truncated after it. */
export function seekForward(fd: number, length: number): void {
  check(c.lseek(fd, length, 1), 'lseek')
}

export function ftruncate(fd: number, length: number): void {
  check(c.ftruncate(fd, length), 'ftruncate')
}

export function mkdirat(dir: number, path: Uint8Array, mode: number): void {
  check(c.mkdirat(dir, path, mode), 'mkdirat', path)
}

/** `mode` carries the file type (S_IFCHR and so on); `device` as `makedev` gives it. */
export function mknodat(dir: number, path: Uint8Array, mode: number, device: bigint): void {
  check(c.mknodat(dir, path, mode, device), 'mknodat', path)
}

export function symlinkat(target: Uint8Array, dir: number, path: Uint8Array): void {
  check(c.symlinkat(target, dir, path), 'symlinkat', path)
}

/** A hard link; the final component of the target is not followed. */
export function linkat(targetDir: number, target: Uint8Array, dir: number, path: Uint8Array): void {
  check(c.linkat(targetDir, target, dir, path, 0), 'linkat', path)
}

export function unlinkat(dir: number, path: Uint8Array, flags = 0): void {
  check(c.unlinkat(dir, path, flags), 'unlinkat', path)
}

/** Changes the owner of a path without following a final symlink. */
export function lchownat(dir: number, path: Uint8Array, uid: number, gid: number): void {
  check(c.fchownat(dir, path, uid, gid, AT_SYMLINK_NOFOLLOW), 'fchownat', path)
}

export function fchown(fd: number, uid: number, gid: number): void {
  check(c.fchown(fd, uid, gid), 'fchown')
}

export function fchmod(fd: number, mode: number): void {
  check(c.fchmod(fd, mode), 'fchmod')
}

/** Follows a final symlink (Linux has no other way by path): call it only for what was just made and is no symlink. */
export function fchmodat(dir: number, path: Uint8Array, mode: number): void {
  check(c.fchmodat(dir, path, mode, 0), 'fchmodat', path)
}

/** `times`: two struct timespec as `writeTimespec` lays them out. A final symlink is not followed. */
export function lutimensat(dir: number, path: Uint8Array, times: Uint8Array): void {
  check(c.utimensat(dir, path, times, AT_SYMLINK_NOFOLLOW), 'utimensat', path)
}

export function futimens(fd: number, times: Uint8Array): void {
  check(c.futimens(fd, times), 'futimens')
}

export function fsetxattr(fd: number, name: Uint8Array, value: Uint8Array): void {
  check(c.fsetxattr(fd, name, value, value.length, 0), 'fsetxattr', name)
}

export function lsetxattr(path: Uint8Array, name: Uint8Array, value: Uint8Array): void {
  check(c.lsetxattr(path, name, value, value.length, 0), 'lsetxattr', path)
}

export function lremovexattr(path: Uint8Array, name: Uint8Array): void {
  check(c.lremovexattr(path, name), 'lremovexattr', path)
}

const xattrBuffer = Buffer.allocUnsafeSlow(65536) // XATTR_SIZE_MAX

/** The value of an extended attribute, or undefined where there is none (ENODATA) or the filesystem has none (ENOTSUP). */
export function getxattr(path: Uint8Array, name: Uint8Array): Buffer | undefined {
  return xattrValue('getxattr', path, name)
}

/** As `getxattr`; a final symlink is not followed. */
export function lgetxattr(path: Uint8Array, name: Uint8Array): Buffer | undefined {
  return xattrValue('lgetxattr', path, name)
}

function xattrValue(call: 'getxattr' | 'lgetxattr', path: Uint8Array, name: Uint8Array): Buffer | undefined {
  const size = c[call](path, name, xattrBuffer, xattrBuffer.length)
  if (size >= 0) return Buffer.from(xattrBuffer.subarray(0, size))
  const errno = lastErrno()
  if (errno === osConstants.errno.ENODATA || errno === osConstants.errno.EOPNOTSUPP) return undefined
  throw new SystemError(call, errno, path)
}

/** The names of the extended attributes of a path, in the order of the kernel. */
export function listxattr(path: Uint8Array): string[] {
  return xattrNames('listxattr', path)
}

/** As `listxattr`; a final symlink is not followed. */
export function llistxattr(path: Uint8Array): string[] {
  return xattrNames('llistxattr', path)
}

function xattrNames(call: 'listxattr' | 'llistxattr', path: Uint8Array): string[] {
  const list = Buffer.allocUnsafeSlow(65536) // XATTR_LIST_MAX
  const size = c[call](path, list, list.length)
  if (size < 0) {
    const errno = lastErrno()
    if (errno === osConstants.errno.EOPNOTSUPP) return []
    throw new SystemError(call, errno, path)
  }
  return list
    .toString('latin1', 0, size)
    .split('\0')
    .filter(name => name !== '')
}

/** What struct stat says, as far as windlass asks for it. */
export interface Stat {
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  readonly ino: bigint
  /** dev_t of a device node, as `makedev` composes it. */
  readonly rdev: bigint
}

// Offsets in struct stat: x86-64 has st_nlink (8 bytes) before st_mode, arm64 has both in 4 bytes after it.
const statBuffer = Buffer.allocUnsafeSlow(256)
function readStat(): Stat {
  return {
    ino: statBuffer.readBigUInt64LE(8),
    rdev: statBuffer.readBigUInt64LE(arm ? 32 : 40),
    nlink: arm ? statBuffer.readUInt32LE(20) : Number(statBuffer.readBigUInt64LE(16)),
    mode: statBuffer.readUInt32LE(arm ? 16 : 24),
    uid: statBuffer.readUInt32LE(arm ? 24 : 28),
    gid: statBuffer.readUInt32LE(arm ? 28 : 32),
    size: Number(statBuffer.readBigInt64LE(48)),
    mtimeSeconds: Number(statBuffer.readBigInt64LE(88)),
    mtimeNanoseconds: statBuffer.readUInt32LE(96),
  }
}

export function fstat(fd: number): Stat {
  check(c.fstat(fd, statBuffer), 'fstat')
  return readStat()
}

/** lstat relative to a directory, or undefined where there is nothing (ENOENT, ENOTDIR). */
export function lstatat(dir: number, path: Uint8Array): Stat | undefined {
  if (c.fstatat(dir, path, statBuffer, AT_SYMLINK_NOFOLLOW) === 0) return readStat()
  const errno = lastErrno()
  if (errno === osConstants.errno.ENOENT || errno === osConstants.errno.ENOTDIR) return undefined
  throw new SystemError('fstatat', errno, path)
}

/**
 * Ends the process on the spot (_exit(2)). `process.exit` waits for every thread, and so for ever for one that sits in a system call.
 */
export function exitNow(status: number): never {
  c.exit(status)
  throw new Error('unreachable: _exit returned')
}

/** Asks the kernel to kill this process when its parent ends (PR_SET_PDEATHSIG of prctl(2)). */
export function diesWithParent(): void {
  check(c.prctl(PR_SET_PDEATHSIG, osConstants.signals.SIGKILL), 'prctl')
}

/** The kernel's ID of the calling thread (gettid(2), by number because glibc has a wrapper only since 2.30): its name under /proc/PID/task. */
export function gettid(): number {
  return c.syscallNumber(arm ? 178 : 186)
}

/**
 * Writes all dirty data and metadata of the filesystem that holds `fd` to the disk, in a thread of the pool; reports write errors
 * since `fd` was opened.
 */
export function syncfsAsync(fd: number): Promise<void> {
  const call = c.syncfs as unknown as { async(fd: number, done: (error: Error | null, result: number) => void): void }
  return new Promise((resolve, reject) => {
    call.async(fd, (error, result) => {
      if (error !== null) reject(error)
      else if (result < 0) reject(new SystemError('syncfs', koffi.errno()))
      else resolve()
    })
  })
}

const SYNC_FILE_RANGE_WRITE = 2

/**
 * Has the kernel begin to write what is dirty of a file from `offset` on, all of it if `length` is 0. It waits for nothing, except that the disk has room for
 * more requests. What goes wrong with it is told by whatever syncs afterwards.
 */
export function beginWriting(fd: number, offset: number, length: number): void {
  c.syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE)
}

/** The same in a thread of the pool. */
export function beginWritingAsync(fd: number, offset: number, length: number): Promise<void> {
  type Call = (fd: number, offset: number, length: number, flags: number, done: () => void) => void
  const call = c.syncFileRange as unknown as { async: Call }
  return new Promise(resolve => call.async(fd, offset, length, SYNC_FILE_RANGE_WRITE, resolve))
}

/** getdents64(2), by number because glibc has a wrapper only since 2.30: fills `entries`, returns the bytes used, 0 at the end. */
export function getdents(fd: number, entries: Uint8Array): number {
  return check(c.getdents(arm ? 61 : 217, fd, entries, entries.length), 'getdents64')
}

/** The same in a thread of the pool, for a disk that may not answer. */
export function getdentsAsync(fd: number, entries: Uint8Array): Promise<number> {
  type Call = (number: number, fd: number, entries: Uint8Array, size: number, done: Done) => void
  type Done = (error: Error | null, result: number) => void
  const call = c.getdents as unknown as { async: Call }
  return new Promise((resolve, reject) => {
    call.async(arm ? 61 : 217, fd, entries, entries.length, (error, result) => {
      if (error !== null) reject(error)
      else if (result < 0) reject(new SystemError('getdents64', koffi.errno()))
      else resolve(result)
    })
  })
}

export function mount(source: string, target: string, type: string, flags: number, data: string): void {
  const path = cPath(target)
  check(c.mount(cPath(source), path, cPath(type), flags, cPath(data)), 'mount', path)
}

export function umount(target: string, flags: number): void {
  const path = cPath(target)
  check(c.umount2(path, flags), 'umount2', path)
}

/**
 * Tries to lock one byte of a file for this open file description (fcntl(2), F_OFD_SETLK). Never waits.
 * The lock goes when the descriptor is closed, also by the death of the process.
 * @returns false if somebody else holds a conflicting lock
 */
export function tryLockByte(fd: number, offset: number, kind: 'shared' | 'exclusive' | 'none'): boolean {
  const lock = Buffer.alloc(32) // struct flock: l_type, l_whence (int16), l_start, l_len (int64 at 8 and 16), l_pid (int32, 0)
  lock.writeInt16LE({ shared: F_RDLCK, exclusive: F_WRLCK, none: F_UNLCK }[kind], 0)
  lock.writeBigInt64LE(BigInt(offset), 8)
  lock.writeBigInt64LE(1n, 16)
  if (c.fcntlLock(fd, F_OFD_SETLK, lock) >= 0) return true
  const errno = lastErrno()
  if (errno === osConstants.errno.EAGAIN || errno === osConstants.errno.EACCES) return false
  throw new SystemError('fcntl', errno)
}

const LOCK_EX_NB = 2 | 4

/** Locks a file or directory for this open file description (flock(2)), if nobody has it. The lock goes when the descriptor is closed, also by death. */
export function tryFlock(fd: number): boolean {
  if (c.flock(fd, LOCK_EX_NB) >= 0) return true
  const errno = lastErrno()
  if (errno === osConstants.errno.EAGAIN) return false
  throw new SystemError('flock', errno)
}

/** Lays out one struct timespec at `offset`: seconds since the epoch (may be negative) and nanoseconds 0 to 999 999 999. */
export function writeTimespec(times: Buffer, offset: number, seconds: number, nanoseconds: number): void {
  times.writeUInt32LE(seconds >>> 0, offset)
  times.writeInt32LE(Math.floor(seconds / 0x1_0000_0000), offset + 4)
  times.writeUInt32LE(nanoseconds, offset + 8)
  times.writeUInt32LE(0, offset + 12)
}

/** The kernel's dev_t of a major and a minor number, as glibc's makedev(3) composes it. */
export function makedev(major: number, minor: number): bigint {
  const ma = BigInt(major)
  const mi = BigInt(minor)
  return ((ma & 0xfffff000n) << 32n) | ((ma & 0xfffn) << 8n) | ((mi & 0xffffff00n) << 12n) | (mi & 0xffn)
}

/** A pipe whose two ends are closed on exec: the end that is read from, and the end that is written to. */
export function pipe2(): { readonly readEnd: number; readonly writeEnd: number } {
  const fds = Buffer.alloc(8)
  check(c.pipe2(fds, O.CLOEXEC), 'pipe2')
  return { readEnd: fds.readInt32LE(0), writeEnd: fds.readInt32LE(4) }
}

const F_SETFD = 2

/** A descriptor that the program gets which replaces this one. */
export function keepOnExec(fd: number): void {
  check(c.fcntlInt(fd, F_SETFD, 0), 'fcntl')
}

const F_SETPIPE_SZ = 1031

/** Asks the kernel for a pipe of that many bytes. False if it has no room for this user (pipe-user-pages-soft, pipe-max-size). */
export function trySetPipeSize(fd: number, bytes: number): boolean {
  return c.fcntlInt(fd, F_SETPIPE_SZ, bytes) >= 0
}

const F_GETPIPE_SZ = 1032

/** How many bytes a pipe takes; either end may be asked. */
export function pipeSize(fd: number): number {
  return check(c.fcntlInt(fd, F_GETPIPE_SZ, 0), 'fcntl')
}

const FIONREAD = 0x541b

/** How many bytes wait in a pipe; either end may be asked. */
export function bytesInPipe(fd: number): number {
  const count = Buffer.alloc(4)
  check(c.ioctl(fd, FIONREAD, count), 'ioctl')
  return count.readInt32LE(0)
}

const SOCK_STREAM = 1
const IPPROTO_TCP = 6
const TCP_MAXSEG = 2

/** A TCP socket that is not connected yet, and that neither sends nor wants larger segments, tcp(7). Non-blocking, closed on exec. */
export function openTcpSocket(family: 4 | 6, segmentMax: number): number {
  const fd = check(c.socket(family === 4 ? 2 : 10, SOCK_STREAM | O.CLOEXEC | O.NONBLOCK, 0), 'socket')
  const value = Buffer.alloc(4)
  value.writeInt32LE(segmentMax)
  if (c.setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, value, value.length) >= 0) return fd
  const errno = lastErrno()
  close(fd)
  throw new SystemError('setsockopt', errno)
}

const AF_UNIX = 1
const SOL_SOCKET = 1
const SO_PEERCRED = 17

/** The process that listens on a Unix socket, and as whom it began to, SO_PEERCRED of unix(7); pid 0 for one of another PID namespace. Waits for nobody: where the queue is full, it fails. */
export function readListener(path: Uint8Array): { readonly pid: number; readonly uid: number } {
  const fd = check(c.socket(AF_UNIX, SOCK_STREAM | O.CLOEXEC | O.NONBLOCK, 0), 'socket')
  try {
    const address = Buffer.concat([Buffer.of(AF_UNIX, 0), path])
    check(c.connect(fd, address, address.length), 'connect', path)
    const [credentials, length] = [Buffer.alloc(12), Buffer.of(12, 0, 0, 0)]
    check(c.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length), 'getsockopt')
    return { pid: credentials.readInt32LE(0), uid: credentials.readUInt32LE(4) }
  } finally {
    close(fd)
  }
}

const SPLICE_F_NONBLOCK = 2

/** Duplicates what waits in a pipe into another one, and leaves it there. Never waits. @returns how many bytes; 0 if none wait */
export function tee(from: number, to: number, length: number): number {
  const count = c.tee(from, to, length, SPLICE_F_NONBLOCK)
  if (count < 0 && lastErrno() === osConstants.errno.EAGAIN) return 0
  return check(count, 'tee')
}

/** Requests of ptrace(2), by number because glibc's wrapper takes some of them apart. */
export const PTRACE = {
  CONT: 7,
  DETACH: 17,
  GETREGSET: 0x4204,
  SETREGSET: 0x4205,
  SEIZE: 0x4206,
  INTERRUPT: 0x4207,
} as const
const ptraceNumber = arm ? 117 : 101

/** The caller's thread is the tracer: all calls for a task have to come from one thread. */
export function ptrace(request: number, tid: number, data = 0): void {
  check(c.ptrace(ptraceNumber, request, tid, 0, data), 'ptrace')
}

/** Reads one set of a stopped task's registers (NT_PRSTATUS is 1). @returns how many bytes there are: tells what kind of program it is */
export function readRegisters(tid: number, set: number, registers: Buffer): number {
  const view = { base: registers, length: registers.length }
  check(c.ptraceRegisters(ptraceNumber, PTRACE.GETREGSET, tid, set, view), 'ptrace')
  return Number(view.length)
}

export function writeRegisters(tid: number, set: number, registers: Buffer): void {
  const view = { base: registers, length: registers.length }
  check(c.ptraceRegisters(ptraceNumber, PTRACE.SETREGSET, tid, set, view), 'ptrace')
}

const WNOHANG = 1
const __WALL = 0x40000000

/** What has become of a traced task, if something has: the status of wait(2), undefined if there is nothing to tell, `gone` if it is nobody's. */
export function waitTraced(tid: number): number | 'gone' | undefined {
  const status = Buffer.alloc(4)
  const found = c.wait4(tid, status, WNOHANG | __WALL, null)
  if (found === tid) return status.readInt32LE(0)
  if (found === 0) return undefined
  if (lastErrno() === osConstants.errno.ECHILD) return 'gone'
  throw new SystemError('wait4', lastErrno())
}
