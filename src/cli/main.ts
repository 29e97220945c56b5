import { existsSync, lstatSync, mkdirSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// Each disk that does not answer takes threads of the doctor, and libuv reads this before its first one.
if (process.argv.includes('doctor')) process.env['UV_THREADPOOL_SIZE'] ??= '16'
/** What ends before has no time to tidy up. */
const trimMs = 5000
keepCompiledCode()
const { start } = await import('./run.ts')
await start(process)

/**
 * Start-up is a third faster with V8's code cache. Whoever can write into the cache runs code as this user, so it lives in the
 * user's own cache directory, never in a shared /tmp, and is not used when somebody else owns that.
 */
function keepCompiledCode(): void {
  const { XDG_CACHE_HOME: cacheHome, HOME: home } = process.env
  if (!cacheHome && !home) return
  const directory = join(cacheHome || join(home ?? '', '.cache'), 'windlass', 'compiled')
  try {
    // Even a mkdir of what is there waits for a frozen filesystem.
    if (!existsSync(directory)) mkdirSync(directory, { recursive: true, mode: 0o700 })
    const { uid, mode } = lstatSync(directory)
    if (uid !== process.geteuid?.() || (mode & 0o170022) !== 0o040000) return
    const { directory: current } = enableCompileCache(directory)
    if (current !== undefined) setTimeout(trimLater, trimMs, directory, current).unref()
  } catch {
    // A read-only or missing home only costs the milliseconds.
  }
}

function trimLater(directory: string, current: string): void {
  import('./compiled-code.ts').then(
    ({ trimCompiledCode }) => trimCompiledCode(directory, current),
    () => {}, // it was removed meanwhile
  )
}
