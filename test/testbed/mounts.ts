/** The mounts below a directory, so that nothing a test or a killed daemon mounted stays behind. */
import { readFileSync } from 'node:fs'
import { MNT_DETACH, umount } from '../../src/sys/libc.ts'

/** Mount points at or below `directory`, the innermost first. */
export function listMounts(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map(line =>
      (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8))),
    )
    .filter(point => point === directory || point.startsWith(`${directory}/`))
    .reverse()
}

/** Unmounts everything at or below `directory`; what is busy goes as soon as its last user does. */
export function unmountAll(directory: string): void {
  for (const point of listMounts(directory)) umount(point, MNT_DETACH)
}
