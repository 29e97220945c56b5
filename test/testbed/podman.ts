/** A storage for podman of the test's own. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unmountAll } from './mounts.ts'
import { type Engines, hostEngines, runOf } from './newest.ts'

export interface TestPodman extends AsyncDisposable {
  /** What podman, and who calls it, needs to find this storage. */
  readonly env: Record<string, string>
  /** @returns its stdout */
  podman(...args: string[]): Promise<string>
}

/**
 * @param path directories in which podman finds its decompressors before those of the host
 * @param engines whose podman is run
 */
export async function openPodman(
  directory: string,
  path?: string,
  engines: Engines = hostEngines,
): Promise<TestPodman> {
  await mkdir(directory, { recursive: true })
  const file = join(directory, 'storage.conf')
  const runroot = await mkdtemp(join(tmpdir(), 'windlass-podman-run-')) // short: it holds sockets
  const lines = ['[storage]', 'driver = "overlay"', `graphroot = "${directory}/graph"`, `runroot = "${runroot}"`]
  await writeFile(file, `${lines.join('\n')}\n`)
  const env = {
    CONTAINERS_STORAGE_CONF: file,
    ...(path !== undefined && { PATH: `${path}:${process.env['PATH']}:/usr/sbin:/sbin` }),
  }
  return {
    env,
    podman: (...args) => runOf(engines, ['podman', ...args], { env }),
    async [Symbol.asyncDispose]() {
      unmountAll(directory)
      unmountAll(runroot)
      await rm(runroot, { recursive: true, force: true })
    },
  }
}
