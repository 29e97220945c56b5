import { renameSync, rmSync, writeFileSync } from 'node:fs'

/**
 * A file whose readers never see half of it; not durable. The directory may be somebody else's, and so what has a name in it: nothing is followed, nothing is opened that is
 * there already.
 * @throws Node's error
 */
export function replaceFile(path: string, text: string, mode: number): void {
  const fresh = `${path}.new`
  rmSync(fresh, { force: true })
  writeFileSync(fresh, text, { flag: 'wx', mode })
  renameSync(fresh, path)
}
