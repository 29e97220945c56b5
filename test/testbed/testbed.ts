/** What most end-to-end tests need at once: the images, their registry, a fresh filesystem, a windlass with an empty store. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type DockerRegistry, startDockerRegistry } from '../servers/docker-registry.ts'
import { type ReadTreeOptions, readTree, type Tree } from '../tree.ts'
import { type ImageName, type TestImages, testImages } from './images.ts'
import { openLoopFilesystem } from './loop-filesystem.ts'
import { unpackWithUmoci } from './peers.ts'
import { openWindlass, type Windlass } from './windlass.ts'

export interface Testbed extends AsyncDisposable {
  readonly images: TestImages
  readonly registry: DockerRegistry
  /** The store of `windlass`, on the fresh filesystem. */
  readonly root: string
  readonly windlass: Windlass
  /** How windlass names an image of the registry. */
  refer(image: ImageName): string
  /** A new directory on the fresh filesystem. */
  makeDirectory(name: string): Promise<string>
  /** The image as umoci unpacks it, read once. */
  readExpected(image: ImageName): Promise<Tree>
}

/** Without what overlayfs keeps for itself. */
export const imageFacts: ReadTreeOptions = { ignoreXattrs: ['trusted.overlay.'] }

export async function openTestbed(): Promise<Testbed> {
  await using stack = new AsyncDisposableStack()
  const images = await testImages()
  const { directory } = stack.use(await openLoopFilesystem())
  const registry = stack.use(await startDockerRegistry({ storage: images.storage }))
  const root = join(directory, 'store')
  const expected = new Map<ImageName, Promise<Tree>>()
  const kept = stack.move()
  const makeDirectory = async (name: string) => {
    await mkdir(join(directory, name), { recursive: true })
    return join(directory, name)
  }
  return {
    images,
    registry,
    root,
    windlass: openWindlass(root),
    refer: image => `${registry.host}/${image}:latest`,
    makeDirectory,
    readExpected(image) {
      const tree = expected.get(image) ?? makeDirectory('umoci').then(readByUmoci(images.layout, image))
      expected.set(image, tree)
      return tree
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

function readByUmoci(layout: string, image: ImageName) {
  return async (directory: string) => readTree(await unpackWithUmoci(layout, image, join(directory, image)), imageFacts)
}
