/** windlass as its users have it: a clone looks at each start whether its sources are newer than what was built, and may run those. */
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../test/testbed/command.ts'

const checkout = fileURLToPath(new URL('..', import.meta.url))

let installed: Promise<string> | undefined

/** The launcher of the package as these sources make it, beside the packages that it needs, which are those of the clone. It goes with this process. */
export function installedProgram(): Promise<string> {
  installed ??= install()
  return installed
}

async function install(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'windlass-installed-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const modules = join(directory, 'node_modules')
  await mkdir(modules)
  const [{ filename }] = JSON.parse(await run('npm', ['pack', '--json', '--pack-destination', directory, checkout]))
  await run('tar', ['-xzf', join(directory, filename), '-C', modules])
  await rename(join(modules, 'package'), join(modules, 'windlass'))
  const names = (await readdir(join(checkout, 'node_modules'))).filter(name => !name.startsWith('.'))
  await Promise.all(names.map(name => symlink(join(checkout, 'node_modules', name), join(modules, name))))
  return join(modules, 'windlass', 'bin', 'windlass')
}
