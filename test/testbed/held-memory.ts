/**
 * A process whose memory is locked for as long as a filesystem does not answer. Called as `held-memory.ts FILE`; it calls itself `podman` and says `ready`. One of its threads
 * takes away a mapping of the file that has to be written back first, with the lock in its hands; the other wants to map something; and whoever asks for the command line
 * comes after that one.
 */
import { openSync, writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import koffi from 'koffi'

const libc = koffi.load('libc.so.6')
const mmap = libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)')
const munmap = libc.func('int munmap(void *address, size_t length)')
const memset = libc.func('void *memset(void *address, int byte, size_t length)')

const [PROT_READ, PROT_WRITE] = [1, 2]
const [MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS] = [1, 2, 0x20]
const page = 4096
const isFirst = process.argv[2] !== undefined && process.env['HELD'] === undefined

writeFileSync('/proc/self/comm', 'podman')
if (isFirst) {
  new Worker(new URL(import.meta.url), { argv: [process.argv[2]], env: { HELD: '1' } })
  const mapAnything = () => mmap(null, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
  setInterval(mapAnything, 100)
} else {
  const fd = openSync(process.argv[2] ?? '', 'r+')
  const address = mmap(null, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
  memset(address, 1, page)
  writeFileSync(1, 'ready\n')
  munmap(address, page)
}
