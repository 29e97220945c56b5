import { familiarName, parseReference } from '../oci/reference.ts'
import type { ImageRecord } from '../places/store/types.ts'
import { shortDigest } from './progress/state.ts'

/** A name of an image as docker's lists split it. */
export interface ListedName {
  readonly repository: string
  readonly tag: string
  readonly digest: string
}

/** `docker.io/library/debian:12` becomes `debian:12`. */
export function formatName(reference: string): string {
  const parsed = parseReference(reference)
  return `${familiarName(parsed)}${parsed.tag === undefined ? '' : `:${parsed.tag}`}${parsed.digest === undefined ? '' : `@${parsed.digest}`}`
}

/** One line for each tag; repositories known by digest alone have a line without a tag; what has no name has one, too. */
export function listNames({ names, repoDigests }: Pick<ImageRecord, 'names' | 'repoDigests'>): ListedName[] {
  const digests = new Map(repoDigests.map(text => [familiarName(parseReference(text)), parseReference(text).digest]))
  const tagged = names.map(parseReference).map(reference => {
    const repository = familiarName(reference)
    return { repository, tag: reference.tag ?? none, digest: digests.get(repository) ?? none }
  })
  const named = new Set(tagged.map(({ repository }) => repository))
  const untagged = [...digests]
    .filter(([repository]) => !named.has(repository))
    .map(([repository, digest]) => ({ repository, tag: none, digest: digest ?? none }))
  const listed = [...tagged, ...untagged]
  return listed.length > 0 ? listed : [{ repository: none, tag: none, digest: none }]
}

/** The ID as it is told to people. */
export function formatId(id: string, full: boolean): string {
  return full ? id : shortDigest(id)
}

const none = '<none>'
