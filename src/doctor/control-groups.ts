/** The control groups that a process lives in, in either version, with all above it: a limit of any of them holds. */
import { dirname, join } from 'node:path'
import type { HostView } from '../sys/host-view.ts'

export type Controller = 'memory' | 'cpu' | 'pids' | 'freezer'

/** One group of one controller. */
export interface ControlGroup {
  readonly path: string
  /** Version 2: one tree for all controllers. */
  readonly isUnified: boolean
}

/** The groups of a process, its own first; empty if the controller is not used, or not mounted where everybody has it. */
export function findGroups(host: HostView, pid: number, controller: Controller): ControlGroup[] {
  const lines = (host.text(`/proc/${pid}/cgroup`) ?? '').split('\n').map(parseLine)
  const own = lines.find(({ controllers }) => controllers.includes(controller))
  if (own !== undefined) return climb(join('/sys/fs/cgroup', controller), own.path, false)
  const unified = lines.find(({ id, controllers }) => id === '0' && controllers.length === 0)
  return unified === undefined ? [] : climb('/sys/fs/cgroup', unified.path, true)
}

/** `4:memory:/system.slice/docker.service`; the path may hold colons. */
function parseLine(line: string): { id: string; controllers: string[]; path: string } {
  const [id = '', names = '', ...path] = line.split(':')
  return { id, controllers: names === '' ? [] : names.split(','), path: path.join(':') }
}

/** Above a unit of the host's own systemd there is nothing but these. */
export const slices = /^(?:\/[^/\n]+\.slice)*$/

/** The group in which systemd put a process, as the systemd that is the first process here names it: it may itself have been started in a group of another one. */
export function readSystemdGroup(host: HostView, pid: number): string {
  const groupOf = (of: number) =>
    /^(?:0:|\d+:name=systemd):(\/[^\n]*)$/m.exec(host.text(`/proc/${of}/cgroup`) ?? '')?.[1] ?? ''
  const root = groupOf(1).replace(/\/init\.scope$/, '')
  const path = groupOf(pid)
  return path.startsWith(`${root}/`) ? path.slice(root.length) : path
}

function climb(root: string, path: string, isUnified: boolean): ControlGroup[] {
  const groups: ControlGroup[] = []
  // A namespace of its own shows what lies above it as `/..`: that cannot be reached by name.
  const clean = path.startsWith('/..') ? '/' : path
  for (let at = clean; at !== '/' && at !== '.' && at !== ''; at = dirname(at))
    groups.push({ path: join(root, at), isUnified })
  return groups.length === 0 ? [{ path: root, isUnified }] : groups
}

/** The number in a file of a group; infinite for `max`, and for what version 1 writes where there is no limit. */
export function readNumber(host: HostView, { path }: ControlGroup, name: string): number | undefined {
  const text = host.text(join(path, name))?.trim()
  if (text === undefined || text === '') return undefined
  const value = text === 'max' ? Number.POSITIVE_INFINITY : Number(text)
  if (Number.isNaN(value)) return undefined
  return value >= 2 ** 60 ? Number.POSITIVE_INFINITY : value
}

/** The number after a name, in a file with a line for each. */
export function readEntry(host: HostView, { path }: ControlGroup, file: string, name: string): number | undefined {
  const [, value] = new RegExp(`^${name} (\\d+)$`, 'm').exec(host.text(join(path, file)) ?? '') ?? []
  return value === undefined ? undefined : Number(value)
}

/** The group that a process is frozen in. Version 1 leaves a frozen task in the very place where it slept, so its wait channel tells nothing. */
export function findFrozenGroup(host: HostView, pid: number): string | undefined {
  return findGroups(host, pid, 'freezer').find(group => isFrozen(host, group))?.path
}

function isFrozen(host: HostView, group: ControlGroup): boolean {
  if (group.isUnified) return readEntry(host, group, 'cgroup.events', 'frozen') === 1
  return host.text(join(group.path, 'freezer.state'))?.startsWith('FROZEN') === true
}
