import { readFileSync } from 'node:fs'

/** The text of a file, as of one in /proc: empty where there is none any more. */
export function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
