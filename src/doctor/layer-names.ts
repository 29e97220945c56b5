/** How engines call the files in which a layer is on its way, as the kernel tells of what they have open. */
import type { FoundEngine } from './engines.ts'

/** In a directory of one pull alone; older ones have the short name. */
const ofPodman = /\/((?:container_images_storage[^/]*|storage\d+)\/\d+)$/

/** The first group is its name. Below dockerd's data root, or in its DOCKER_TMPDIR. */
export const temporaryLayers = {
  dockerd: /\/(GetImageBlob\d+)$/,
  podman: ofPodman,
  buildah: ofPodman,
  skopeo: ofPodman,
  crio: ofPodman,
} as const satisfies Partial<Record<FoundEngine['kind'], RegExp>>
