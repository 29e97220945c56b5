/** A Debian root filesystem, as base images are made from it, and a layer of packages on top of it. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { cached } from './cache.ts'
import { run, runScript } from './command.ts'
import { packTree, stackLayers } from './layers.ts'

export interface DebianTars {
  /** The minbase root. */
  readonly base: string
  /** What installing packages changed above it. */
  readonly packages: string
}

/** The text that both depend on. */
export const debianRecipes: readonly string[] = [import.meta.url, new URL('layers.ts', import.meta.url).href]

/** Builds both in about a minute from the machine's own package mirror, once. */
export async function debianTars(): Promise<DebianTars> {
  const place = await cached('debian', debianRecipes, buildTars)
  return { base: join(place, 'base.tar'), packages: join(place, 'packages.tar') }
}

async function buildTars(directory: string): Promise<void> {
  const { mirror, suite } = await findMirror()
  const root = join(directory, 'root')
  await run('debootstrap', ['--variant=minbase', suite, root, mirror], { timeoutMs: 600_000 })
  await runScript(`rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/var/log/bootstrap.log`, [
    root,
  ])
  await packTree(root, join(directory, 'base.tar'))
  await stackLayers(directory, root, [
    { name: 'packages', script: `${installScript('python3-minimal xz-utils')}\n${tidyUp}` },
  ])
  await rm(root, { recursive: true })
}

/** The shell that installs packages in the merged root of a layer step. */
export function installScript(packages: string): string {
  return `chroot . apt-get -qq update
    chroot . apt-get -qq -y --no-install-recommends install ${packages} >/dev/null
    chroot . apt-get -qq clean
    rm -rf var/lib/apt/lists`
}

const tidyUp = `rm -rf usr/share/doc/base-files etc/issue
  mkdir usr/share/doc/base-files
  echo rebuilt >usr/share/doc/base-files/README`

/** The mirror and the release that this machine's own apt installs from. */
async function findMirror(): Promise<{ mirror: string; suite: string }> {
  const targets = await run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)'])
  for (const line of targets.split('\n')) {
    const [mirror, suite, component] = line.split(' ')
    if (mirror !== undefined && suite !== undefined && component === 'main' && !suite.includes('-'))
      return { mirror, suite }
  }
  throw new Error('apt knows no mirror with a plain release: debootstrap needs one')
}
