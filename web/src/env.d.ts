/** Types of what the build provides. Holds no code. */
declare module "virtual:basemap" {
  export const roadsUrl: string;
  export const worldUrl: string;
}
