/** What stands behind a program that is a script: a wrapper around another one is common, and says nothing of that in its own size and time. */
import { constants } from 'node:fs'
import { access, open, realpath, stat } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { programPath } from '../../sys/processes.ts'

/** Wrappers are a few lines. */
const scriptSizeMax = 64 * 1024
const filesMax = 200

/**
 * The files that a script names and that can be run: its interpreter and every command in it, and what those name if they are scripts, too. Empty for a
 * program that is no script. More than what is run may be among them, and what it makes up while it runs is not.
 */
export async function findScriptFiles(path: string): Promise<string[]> {
  const found = new Set<string>()
  const scripts = [path]
  for (const script of scripts) {
    for (const word of await readWords(script)) {
      if (found.size >= filesMax) break
      const file = await findRunnable(word)
      if (file === undefined || found.has(file) || file === path) continue
      found.add(file)
      scripts.push(file)
    }
  }
  return [...found]
}

async function readWords(path: string): Promise<Set<string>> {
  try {
    await using file = await open(path, 'r')
    const { buffer, bytesRead } = await file.read(Buffer.alloc(scriptSizeMax), 0, scriptSizeMax, 0)
    const text = buffer.toString('latin1', 0, bytesRead)
    return new Set(text.startsWith('#!') ? text.match(/[\w./+-]+/g) : [])
  } catch {
    return new Set()
  }
}

/** The file behind a word, looked for as `execvp` would with the PATH that programs get. */
async function findRunnable(word: string): Promise<string | undefined> {
  if (word.includes('/') && !isAbsolute(word)) return undefined
  const candidates = isAbsolute(word) ? [word] : programPath.map(directory => join(directory, word))
  for (const candidate of candidates) {
    try {
      await access(candidate, constants.X_OK)
      if ((await stat(candidate)).isFile()) return await realpath(candidate)
    } catch {}
  }
  return undefined
}
