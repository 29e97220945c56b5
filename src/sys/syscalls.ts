/** Names of the system calls that matter here, by the numbers that /proc gives. */
const callsOfX64 = `
  read 0 write 1 open 2 close 3 stat 4 fstat 5 lstat 6 poll 7 ioctl 16 pread64 17 pwrite64 18 readv 19 writev 20 select 23 pause 34
  nanosleep 35 connect 42 recvfrom 45 recvmsg 47 wait4 61 kill 62 fcntl 72 fsync 74 fdatasync 75 ftruncate 77 rename 82 mkdir 83 rmdir 84
  link 86 unlink 87 symlink 88 readlink 89 fchmod 91 fchown 93 sync 162 mount 165 umount2 166 rt_sigsuspend 130 setxattr 188 lsetxattr 189 fsetxattr 190 futex 202 getdents64 217
  clock_nanosleep 230 epoll_wait 232 waitid 247 openat 257 mkdirat 258 mknodat 259 fchownat 260 newfstatat 262
  unlinkat 263 renameat 264 linkat 265 symlinkat 266 fchmodat 268 pselect6 270 ppoll 271 splice 275 utimensat 280
  sync_file_range 277 epoll_pwait 281 syncfs 306 renameat2 316 getrandom 318 copy_file_range 326
`
const callsOfArm64 = `
  setxattr 5 lsetxattr 6 fsetxattr 7 epoll_pwait 22 fcntl 25 ioctl 29 mknodat 33 mkdirat 34 unlinkat 35 symlinkat 36
  linkat 37 renameat 38 umount2 39 mount 40 ftruncate 46 fchmod 52 fchmodat 53 fchownat 54 fchown 55 openat 56 close
  57 getdents64 61 read 63 write 64 readv 65 writev 66 pread64 67 pwrite64 68 pselect6 72 ppoll 73 splice 76
  newfstatat 79 fstat 80 sync 81 fsync 82 fdatasync 83 sync_file_range 84 utimensat 88 waitid 95 futex 98 nanosleep 101 clock_nanosleep
  115 kill 129 rt_sigsuspend 133 connect 203 recvfrom 207 recvmsg 212 wait4 260 syncfs 267 renameat2 276 getrandom 278 copy_file_range 285
`

const namesOfX64 = parseCalls(callsOfX64)
const namesOfArm64 = parseCalls(callsOfArm64)

/** @returns the number itself where the call is none that matters here */
export function nameSyscall(number: string, arch: string): string {
  return (arch === 'arm64' ? namesOfArm64 : namesOfX64).get(number) ?? number
}

function parseCalls(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(/(\S+) (\d+)/g)].map(([, name = '', number = '']) => [number, name]))
}

export const callsWithFd: ReadonlySet<string> = new Set(
  'read write readv writev pread64 pwrite64 close fsync fdatasync sync_file_range ftruncate fchmod fchown fsetxattr syncfs getdents64'.split(
    ' ',
  ),
)
