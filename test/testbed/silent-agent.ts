/**
 * A security agent that asks to permit every opening of a file on one filesystem, and never answers. Called as `silent-agent.ts DIRECTORY`; says
 * `ready` when it is asked. Its end lets all go that wait for it.
 */
import koffi from 'koffi'

const libc = koffi.load('libc.so.6')
const fanotifyInit = libc.func('int fanotify_init(unsigned int flags, unsigned int event_f_flags)')
const fanotifyMark = libc.func(
  'int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int dirfd, const char *pathname)',
)

const FAN_CLASS_CONTENT = 4
const FAN_MARK_ADD_FILESYSTEM = 0x101
const FAN_OPEN_PERM = 0x10000
const AT_FDCWD = -100

const fd: number = fanotifyInit(FAN_CLASS_CONTENT, 0)
const result: number = fanotifyMark(fd, FAN_MARK_ADD_FILESYSTEM, FAN_OPEN_PERM, AT_FDCWD, process.argv[2])
if (fd < 0 || result < 0) throw new Error(`fanotify: errno ${koffi.errno()}`)
process.stdout.write('ready\n')
setInterval(() => {}, 1000)
