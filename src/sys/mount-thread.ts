/** The thread behind `mountFrom`: it leaves the process's working directory, mounts, answers and ends. */
import { parentPort, workerData } from 'node:worker_threads'
import { CLONE_FS, chdir, cPath, mount, SystemError, unshare } from './libc.ts'
import type { MountCall, MountFailure } from './mounts.ts'

function run({ directory, source, target, type, flags, data }: MountCall): MountFailure | undefined {
  try {
    unshare(CLONE_FS)
    chdir(cPath(directory))
    mount(source, target, type, flags, data)
    return undefined
  } catch (error) {
    if (error instanceof SystemError) return { syscall: error.syscall, errno: error.errno }
    throw error
  }
}

parentPort?.postMessage(run(workerData as MountCall))
