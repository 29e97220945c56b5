import { readFile } from 'node:fs/promises'
import { wrapError } from '../errors.ts'

/** The text of a small file; undefined if there is none. @throws WindlassError PERMISSION, FAILED */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw wrapError(error, `Cannot read ${path}`)
  }
}
