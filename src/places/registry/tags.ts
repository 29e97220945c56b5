import { WindlassError } from '../../errors.ts'
import type { Reference } from '../../oci/reference.ts'
import { readSmall } from './body.ts'
import type { HttpRequest } from './http.ts'
import { nextPage } from './next-page.ts'
import { type RegistryOptions, Repository } from './repository.ts'

/** A page of a thousand long tags has some hundred KiB. */
const pageBytesMax = 4 * 1024 * 1024
/** The largest repositories of public registries have some hundred thousand tags. */
const tagsMax = 1_000_000
const pageSize = 1000

/**
 * All tags of a repository (distribution-spec, "Listing Tags"), page by page.
 * @throws WindlassError NOT_FOUND, DENIED, NETWORK, TLS, RATE_LIMITED, PROTOCOL, LIMIT_EXCEEDED
 */
export async function listTags(reference: Reference, options: RegistryOptions, signal: AbortSignal): Promise<string[]> {
  await using repository = new Repository(reference, options, 'pull')
  const doing = `Cannot list the tags of ${reference.domain}/${reference.path}`
  const connected = await repository.connect(signal)
  const tags = new Set<string>()
  let next: URL | undefined = new URL(`/v2/${reference.path}/tags/list?n=${pageSize}`, connected.origin)
  while (next !== undefined) {
    const request: HttpRequest = {
      method: 'GET',
      url: next,
      headers: { accept: 'application/json' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(repository.timeouts.documentMs)]),
      doing,
    }
    const response = await connected.send(request)
    if (response.status !== 200) throw await connected.refusal(response, request)
    const before = tags.size
    for (const tag of parsePage(await readSmall(response, request, pageBytesMax), doing)) tags.add(tag)
    if (tags.size > tagsMax) throw new WindlassError('LIMIT_EXCEEDED', `${doing}: there are more than ${tagsMax}`)
    next = nextPage(response, request)
    // A page that brings nothing new would come for ever.
    if (tags.size === before) break
  }
  return [...tags]
}

function parsePage(bytes: Buffer, doing: string): string[] {
  try {
    const { tags } = JSON.parse(bytes.toString()) as { tags?: unknown }
    // A repository without tags says null.
    if (tags === null || tags === undefined) return []
    if (Array.isArray(tags) && tags.every(tag => typeof tag === 'string')) return tags
  } catch {}
  throw new WindlassError('PROTOCOL', `${doing}: the answer is no list of tags`)
}
