/**
 * The images to measure with, made once per machine: real Debian packages, and a `node_modules` of the usual shape whose
 * files are cut, always the same way, from the sources of this repository's own dependencies.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startDockerRegistry } from '../test/servers/docker-registry.ts'
import { cached } from '../test/testbed/cache.ts'
import { runScript } from '../test/testbed/command.ts'
import { debianRecipes, debianTars, installScript } from '../test/testbed/debian.ts'
import { buildLayout, type ImageSource, pushImage } from '../test/testbed/image-layout.ts'
import { type LayerStep, packTree, stackLayers } from '../test/testbed/layers.ts'

export const sizes = ['small', 'medium', 'big'] as const
export type Size = (typeof sizes)[number]
export const compressions = ['gzip', 'zstd'] as const
export type Compression = (typeof compressions)[number]

export interface BenchImage {
  /** The storage of a docker-registry that holds `bench:gzip` and `bench:zstd`, of medium also `bench:changed`. */
  readonly storage: string
}

export async function benchImage(size: Size): Promise<BenchImage> {
  const layout = new URL('../test/testbed/image-layout.ts', import.meta.url).href
  const place = await cached(`bench-${size}`, [...debianRecipes, import.meta.url, layout], directory =>
    buildImage(directory, size),
  )
  return { storage: join(place, 'registry') }
}

async function buildImage(directory: string, size: Size): Promise<void> {
  const { base } = await debianTars()
  const work = join(directory, 'work')
  await mkdir(join(work, 'root'), { recursive: true })
  await runScript('tar -C "$1" -xpf "$2" --xattrs --xattrs-include="*"', [join(work, 'root'), base])
  const tars = [base, ...(await stackLayers(work, join(work, 'root'), await planSteps(work, size)))]
  const layout = join(work, 'layout')
  const config = { Cmd: ['/bin/sh'] }
  const images: ImageSource[] = compressions.map(name => ({ name, tars, compression: name, config }))
  if (size === 'medium') {
    images.push({ name: 'changed', tars: await changeModules(work, tars), compression: 'gzip', config })
  }
  await buildLayout(layout, images)
  await mkdir(join(directory, 'registry'))
  await using registry = await startDockerRegistry({ storage: join(directory, 'registry') })
  for (const { name } of images) await pushImage(layout, name, `${registry.host}/bench:${name}`)
  await rm(work, { recursive: true })
}

/** The same layers, but the one with the modules has one file more. */
async function changeModules(work: string, tars: readonly string[]): Promise<string[]> {
  const script = `cp "$1/modules.tar" "$1/changed.tar"; echo 2 >"$1/release"; tar -C "$1" --owner=0 --group=0 -rf "$1/changed.tar" release`
  await runScript(script, [work])
  return tars.map(tar => (tar === join(work, 'modules.tar') ? join(work, 'changed.tar') : tar))
}

/** small: the base alone. medium: six layers, about 130 000 entries. big: one layer of more than 3 GB above the base. */
async function planSteps(work: string, size: Size): Promise<LayerStep[]> {
  if (size === 'small') return []
  await writeModules(join(work, 'node_modules'), 85_000)
  await packTree(join(work, 'node_modules'), join(work, 'node_modules.tar'))
  await rm(join(work, 'node_modules'), { recursive: true })
  const modules = `mkdir -p srv/app/node_modules; tar -C srv/app/node_modules -xf '${work}/node_modules.tar'`
  if (size === 'big') return [{ name: 'everything', script: `${installScript(bigPackages)}\n${modules}` }]
  return [
    { name: 'tools', script: installScript('python3 build-essential') },
    { name: 'node', script: installScript('nodejs npm') },
    { name: 'modules', script: modules },
    { name: 'clean', script: 'rm -rf usr/share/doc/* srv/app/node_modules/package-1*/test; echo 1 >srv/app/version' },
    { name: 'start', script: 'rm srv/app/version; printf "#!/bin/sh\\n" >srv/app/start; chmod 755 srv/app/start' },
  ]
}

/** Compilers and libraries: none that needs /proc to be installed. */
const bigPackages =
  `build-essential llvm-14-dev clang-14 libclang-14-dev llvm-16-dev clang-16 libclang-16-dev rustc golang-go
  gcc-aarch64-linux-gnu python3-dev nodejs libboost-all-dev`.replace(/\n\s*/g, ' ')

/** Deterministic: the same numbers on every machine (Numerical Recipes' generator). */
function openRandom(): (below: number) => number {
  let state = 12345
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** Packages of 5 to 200 files in a few directories; sizes from bytes to a quarter megabyte, 3.7 KB in the mean. */
async function writeModules(directory: string, fileCount: number): Promise<void> {
  const text = await readSources()
  const random = openRandom()
  let left = fileCount
  for (let i = 0; left > 0; i++) {
    const count = Math.min(left, 5 + random(random(196) + 1))
    left -= count
    for (const part of ['lib', 'dist/esm', 'test']) {
      await mkdir(join(directory, `package-${i}`, part), { recursive: true })
    }
    for (let file = 0; file < count; file++) {
      const part = ['', 'lib/', 'lib/', 'dist/esm/', 'dist/esm/', 'test/'][random(6)]
      const size = Math.min(262_144, Math.round(-3700 * Math.log((random(65535) + 1) / 65536)))
      const start = random(text.length - size)
      await writeFile(join(directory, `package-${i}`, `${part}file-${file}.js`), text.subarray(start, start + size))
    }
  }
}

/** The texts of this repository's dependencies, one after the other. */
async function readSources(): Promise<Buffer> {
  const root = fileURLToPath(new URL('../node_modules', import.meta.url))
  const names = (await readdir(root, { recursive: true }))
    .filter(name => /\.(?:[cm]?js|d\.ts|json|md)$/.test(name))
    .sort()
  return Buffer.concat(await Promise.all(names.slice(0, 4000).map(name => readFile(join(root, name)))))
}
