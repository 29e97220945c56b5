/** The images of the end-to-end tests, as an OCI layout and in the storage of a registry; built once per machine. */
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startDockerRegistry } from '../servers/docker-registry.ts'
import { cached } from './cache.ts'
import { run, runScript } from './command.ts'
import { debianTars } from './debian.ts'
import { buildLayout, type ImageSource, pushImage } from './image-layout.ts'
import { buildOddTars } from './odd-image.ts'

/** The images by their name in the layout; in the registry `NAME:latest`. `multi` is an index of two platforms. */
export const imageNames = [
  'debian',
  'debian-schema2',
  'debian-zstd',
  'debian-plain',
  'odd',
  'odd-zstd',
  'repeats',
  'sparse',
  'multi',
] as const
export type ImageName = (typeof imageNames)[number]

export interface TestImages {
  /** An OCI layout with every image under its name; `debian-schema2` stands in the registry only. */
  readonly layout: string
  /** The storage directory of a docker-registry that has them all. */
  readonly storage: string
  /** The uncompressed layers of an image, the lowest first. */
  tarsOf(image: ImageName): Promise<string[]>
}

export async function testImages(): Promise<TestImages> {
  const recipes = ['debian.ts', 'layers.ts', 'odd-image.ts', 'image-layout.ts', 'images.ts'].map(
    name => new URL(name, import.meta.url).href,
  )
  const place = await cached('images', recipes, buildImages)
  return {
    layout: join(place, 'layout'),
    storage: join(place, 'registry'),
    async tarsOf(image) {
      const directory = join(place, 'tars', image.replace(/-.*/, ''))
      return (await readdir(directory)).sort().map(name => join(directory, name))
    },
  }
}

async function buildImages(directory: string): Promise<void> {
  const { base, packages } = await debianTars()
  const tars = join(directory, 'tars')
  await mkdir(tars)
  const { odd, repeats, sparse } = await buildOddTars(tars)
  await runScript(changes, [tars, base])
  const debian = [base, packages, join(tars, 'changes-of-debian.tar')]
  const layers = {
    debian: await arrange(tars, 'debian', debian),
    odd: await arrange(tars, 'odd', odd),
    repeats: await arrange(tars, 'repeats', repeats),
    sparse: await arrange(tars, 'sparse', sparse),
  }
  const config = {
    Cmd: ['/bin/sh', '-c', 'echo "hello from $(id -un) on $NAME"'],
    Env: ['PATH=/usr/bin:/bin', 'NAME=windlass'],
  }
  const layout = join(directory, 'layout')
  const images: ImageSource[] = [
    { name: 'debian', tars: layers.debian, compression: 'gzip', config },
    { name: 'debian-zstd', tars: layers.debian, compression: 'zstd', config },
    { name: 'debian-plain', tars: layers.debian, compression: 'none', config },
    { name: 'odd', tars: layers.odd, compression: 'gzip' },
    { name: 'odd-zstd', tars: layers.odd, compression: 'zstd' },
    { name: 'repeats', tars: layers.repeats, compression: 'gzip' },
    { name: 'sparse', tars: layers.sparse, compression: 'gzip' },
    { name: 'multi-arm64', tars: layers.repeats, compression: 'gzip', architecture: 'arm64' },
    { name: 'multi-amd64', tars: layers.odd.slice(2), compression: 'gzip', architecture: 'amd64' },
  ]
  await buildLayout(layout, images, [{ name: 'multi', members: ['multi-arm64', 'multi-amd64'] }])
  await pushAll(layout, join(directory, 'registry'))
}

/** Puts the layers of an image into a directory of its own, in order: `0.tar`, `1.tar` and so on. */
async function arrange(tars: string, image: string, layers: readonly string[]): Promise<string[]> {
  await mkdir(join(tars, image))
  return await Promise.all(
    layers.map(async (tar, i) => {
      const place = join(tars, image, `${i}.tar`)
      await run(tar.startsWith(tars) ? 'mv' : 'cp', [tar, place])
      return place
    }),
  )
}

async function pushAll(layout: string, storage: string): Promise<void> {
  await mkdir(storage)
  await using registry = await startDockerRegistry({ storage })
  for (const name of imageNames) {
    if (name === 'debian-schema2') await pushImage(layout, 'debian', `${registry.host}/${name}:latest`, 'v2s2')
    else await pushImage(layout, name, `${registry.host}/${name}:latest`)
  }
}

/** A layer over Debian as a Dockerfile's COPY, RUN rm and RUN chmod make it. Needs the base's files only to change them. */
const changes = `
  mkdir "$1/changes.d"; cd "$1/changes.d"
  tar -xf "$2" ./etc/passwd ./usr/share/doc/bash ./usr/bin/ls
  echo 'app:x:1000:1000::/srv:/bin/sh' >>etc/passwd; chmod 0700 usr/bin/ls
  rm -r usr/share/doc/bash/*; : >usr/share/doc/bash/.wh..wh..opq; echo kept >usr/share/doc/bash/README
  : >usr/bin/.wh.python3; : >usr/share/.wh.man; : >etc/.wh.motd; mkdir -p srv/data opt
  echo '#!/bin/sh' >srv/run; chmod 0755 srv/run; ln -s ../srv/run opt/run; ln srv/run srv/data/run
  seq 300000 >srv/data/numbers; chown -R 1000:1000 srv/data; chmod 2775 srv/data
  tar --format=gnu --numeric-owner --sort=name -cf "$1/changes-of-debian.tar" -- *
  rm -r "$1/changes.d"`
