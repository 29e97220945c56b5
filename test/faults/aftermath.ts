/** What a pull left behind: its store, its processes, its temporary files. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Store } from '../../src/places/store/store.ts'
import { readIfThere } from '../read-if-there.ts'
import { digestOf } from '../servers/push.ts'
import { imageFacts } from '../testbed/testbed.ts'
import { readTree, type Tree } from '../tree.ts'

/** Names in a directory; none if it is not there. */
export function listNames(directory: string): string[] {
  try {
    return readdirSync(directory).sort()
  } catch {
    return []
  }
}

/** Nothing half-made is left in the store, and nothing at all in the directory for temporary files. */
export function assertTidy(root: string, temporary: string): void {
  assert.deepEqual(listNames(join(root, 'ingest')), [])
  assert.deepEqual(listNames(temporary), [])
}

/** No blob is half-downloaded. */
export function assertNoPartial(root: string): void {
  assert.deepEqual(listNames(join(root, 'partial')), [])
}

/** Every blob, layer and image that the store knows is as it should be, and so many images are there. */
export async function assertSound(root: string, images: number): Promise<void> {
  const signal = AbortSignal.timeout(20_000)
  await using store = await Store.open(root, { signal })
  assert.deepEqual(await Array.fromAsync(store.verify({ signal })), [])
  assert.equal(store.listImages().length, images)
}

/** What the only image was unpacked to, layer by layer. */
export async function readLayers(root: string): Promise<Tree[]> {
  await using store = await Store.open(root, { signal: AbortSignal.timeout(20_000) })
  const [image] = store.listImages()
  return (image?.layers ?? []).map(({ diffDirectory }) => readTree(diffDirectory, imageFacts))
}

/** True once a process has ended; its number stays as long as the kernel holds one of its threads (state D). */
export function hasLeft(pid: number): boolean {
  return /^$|^Z/.test(stateOf(`/proc/${pid}/stat`))
}

/** Living processes of process groups, as `pid: command line`. */
export function listGroupMembers(groups: readonly number[]): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name) && isMember(name, groups))
    .map(pid => `${pid}: ${readIfThere(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')}`)
}

/** Ends what a failed test would leave; a group without living members is left alone: its number may be another's by now. */
export function killGroups(groups: readonly number[]): void {
  for (const group of groups) if (listGroupMembers([group]).length > 0) process.kill(-group, 'SIGKILL')
}

function isMember(pid: string, groups: readonly number[]): boolean {
  const [state, , group] = stateOf(`/proc/${pid}/stat`).split(' ')
  return groups.includes(Number(group)) && state !== 'Z'
}

/** proc_pid_stat(5) behind the name, which may hold anything: state, parent, process group, … */
function stateOf(path: string): string {
  return readIfThere(path).replace(/^.*\) /s, '')
}

/** True if one of its threads sits in the kernel, out of reach of signals. */
export function hasThreadInD(pid: number): boolean {
  return listNames(`/proc/${pid}/task`).some(tid => /^D/.test(stateOf(`/proc/${pid}/task/${tid}/stat`)))
}

/** The program behind its front, the shell of bin/windlass; undefined if it runs no more. */
export function programOf(front: number): number | undefined {
  return childrenOf(front)[0]
}

/** What the main thread of a process has started, and runs. */
export function childrenOf(pid: number): number[] {
  return readIfThere(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number)
}

/** Where the store keeps a whole blob. */
export function blobPath(root: string, bytes: Uint8Array): string {
  return join(root, 'blobs', ...digestOf(bytes).split(':'))
}

/** Bytes that a process has written, to files and pipes. */
export function bytesWritten(pid: number): number {
  return Number(/^wchar: (\d+)$/m.exec(readIfThere(`/proc/${pid}/io`))?.[1] ?? 0)
}
