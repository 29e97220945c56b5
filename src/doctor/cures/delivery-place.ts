/** Where an image is brought in, and what it is called there. */

/** Plain data: survives JSON. */
export interface DeliveryPlace {
  readonly engine: 'dockerd' | 'containerd'
  readonly socket: string
  readonly reference: string
  readonly namespace: string | undefined
  /** That of this host if absent. */
  readonly platform?: string | undefined
}

/** What the reference stands for at the registry, and the image's config. */
export interface ExpectedImage {
  readonly digest: string
  readonly config: string
}

/** What each name stands for: docker's image ID, containerd's digest. */
export type Names = Readonly<Record<string, string>>
