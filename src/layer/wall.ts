import fs from 'node:fs'
import { createRequire, registerHooks, syncBuiltinESMExports } from 'node:module'
import {
  AT_FDCWD,
  CLONE_FS,
  chroot,
  closeLibraries,
  cPath,
  fchdir,
  fstat,
  lstatat,
  umask,
  unshare,
} from '../sys/libc.ts'

let isShut = false

/**
 * Shuts the calling thread into the directory that `root` is open on: from here on this is its root, and no path that an archive plants can name
 * anything outside. Called again, for another layer, it moves the thread there: by the descriptor, since no path leads out. Three things make
 * the wall whole:
 *
 * - the root, working directory and umask are the thread's own (`unshare(CLONE_FS)`), so the rest of the process keeps its own;
 * - an asynchronous file call would be carried out by libuv's pool, which stands outside: all of them are taken away;
 * - nothing may be loaded or started any more, since a module, library or program would now come out of the archive: the loaders are taken away
 *   too, and so are programs and threads, which would inherit the root.
 */
export function enterWall(root: number): void {
  if (!isShut) {
    removeAsyncCalls()
    removePrograms()
    removeLoaders()
    unshare(CLONE_FS)
    umask(0)
    isShut = true
  }
  fchdir(root)
  chroot(cPath('.'))
  if (lstatat(AT_FDCWD, cPath('/'))?.ino !== fstat(root).ino) throw new Error('chroot did not take effect')
}

/** What the message of every removed call says. */
export const wallMessage = 'not possible behind the wall: this call would run outside the chroot'

function blocked(): never {
  throw new Error(wallMessage)
}

function removeAsyncCalls(): void {
  for (const name of Object.keys(fs)) if (!name.endsWith('Sync') && isCall(fs, name)) block(fs, name)
  for (const name of Object.keys(fs.promises)) if (isCall(fs.promises, name)) block(fs.promises, name)
  syncBuiltinESMExports()
  closeLibraries(blocked)
}

function removePrograms(): void {
  const require = createRequire(import.meta.url)
  const programs = require('node:child_process')
  // Whoever keeps one of these calls from before ends up here.
  block(programs.ChildProcess.prototype, 'spawn')
  for (const name of Object.keys(programs)) if (isCall(programs, name)) block(programs, name)
  block(require('node:worker_threads'), 'Worker')
  syncBuiltinESMExports()
}

function removeLoaders(): void {
  const module: object = createRequire(import.meta.url)('node:module')
  // import() has a loader of its own, which only its hooks can reach.
  registerHooks({ resolve: blocked, load: blocked })
  for (const name of ['_load', '_resolveFilename', 'createRequire', 'register', 'registerHooks']) block(module, name)
  for (const name of ['dlopen', 'binding', '_linkedBinding', 'getBuiltinModule', 'loadEnvFile', 'chdir'])
    block(process, name)
}

function isCall(object: object, name: string): boolean {
  // Stats, Dirent and the like are plain data; streams work asynchronously.
  return typeof Reflect.get(object, name) === 'function' && !/^(Stats|Dirent|Dir|_toUnixTimestamp)$/.test(name)
}

function block(object: object, name: string): void {
  Object.defineProperty(object, name, { value: blocked, configurable: true, writable: true })
}
